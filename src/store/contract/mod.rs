//! What every engine must do, written once against `&dyn Store` and run for each.

mod app_passwords;
mod codes;
mod counts;
mod habits;
mod keys;
mod lists;
mod replicas;
mod users;

use std::sync::Arc;
use std::time::Duration;

use crate::policy::first_sync::Allowance;
use crate::store::AppPassword;
use crate::store::Asked;
use crate::store::Ban;
use crate::store::Before;
use crate::store::Bound;
use crate::store::Consumption;
use crate::store::Counted;
use crate::store::Habit;
use crate::store::Habits;
use crate::store::Heard;
use crate::store::Holder;
use crate::store::Kill;
use crate::store::LastUse;
use crate::store::Lookup;
use crate::store::MfaSetting;
use crate::store::NO_HASH;
use crate::store::NewWindow;
use crate::store::Note;
use crate::store::OpenSession;
use crate::store::Rekey;
use crate::store::Renewal;
use crate::store::ReplicaId;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Subject;
use crate::store::Target;
use crate::store::User;
use crate::store::Visit;
use crate::store::WindowState;
use crate::store::day_of;
use crate::store::postgres::PostgresStore;
use crate::store::postgres::cluster::Cluster;
use crate::store::postgres::tests::options;
use crate::store::sqlite;
use crate::types::Amounts;
use crate::types::Elsewhere;
use crate::types::Group;
use crate::types::Groups;
use crate::types::Measure;
use crate::types::Networks;
use crate::types::Prefix;
use crate::types::Restrictions;
use crate::types::SessionId;
use crate::types::UnixTime;
use crate::types::UserName;

const NOW: UnixTime = UnixTime(1_000_000);

/// Runs each function on a fresh store of each engine.
macro_rules! contract {
    ($($group:ident: $($name:ident,)*;)*) => {
        mod on_sqlite {
            use super::*;
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let folder = tempfile::tempdir().unwrap();
                    let path = folder.path().join("store.db");
                    let store = sqlite::SqliteStore::open(&path, &sqlite::Options::default()).unwrap();
                    let store: Arc<dyn Store> = Arc::new(store);
                    super::$group::$name(&store).await;
                }
            )*)*
        }

        mod on_postgres {
            use super::*;
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let Some(cluster) = Cluster::shared() else { return };
                    let options = options(&cluster.url(&cluster.database()));
                    let store = PostgresStore::open(&options).await.unwrap();
                    let store: Arc<dyn Store> = Arc::new(store);
                    super::$group::$name(&store).await;
                }
            )*)*
        }
    };
}

contract! {
    users:
        users_are_added_once_and_changed,
        users_are_listed_by_name_and_removed,
        names_are_kept_byte_for_byte,
        namesakes_differ_in_nothing_but_the_case_of_ascii_letters,
        an_enrolment_waits_for_its_code_and_then_replaces_what_was_in_force,
        standings_come_in_the_order_asked,
        the_epoch_moves_when_a_user_is_disabled,
        the_epoch_moves_with_every_factor_taken_away_or_replaced,
        a_reset_takes_every_factor_away,
        groups_are_kept_and_changed,
    ;
    codes:
        a_step_is_consumed_once_whoever_races,
        a_step_is_not_consumed_for_another_secret_or_a_disabled_user,
        consuming_opens_a_pending_window_that_the_backend_decides,
        windows_of_a_user_are_bounded_and_the_oldest_goes,
        whatever_takes_a_factor_away_ends_its_windows,
        windows_come_by_their_names_in_the_order_asked,
        what_ends_windows_is_a_notice,
    ;
    app_passwords:
        app_passwords_are_kept_listed_and_bounded,
        restrictions_are_kept_as_they_were_given,
        app_passwords_are_revoked_once_and_go_with_their_owner,
        sealed_passwords_are_replaced_for_live_app_passwords_of_the_account,
        a_look_up_finds_all_that_belongs_together,
    ;
    habits:
        nothing_is_new_while_nothing_is_known,
        what_a_user_came_with_is_known_to_that_user_alone,
        what_was_long_ago_is_as_good_as_new,
        habits_are_bounded_for_each_user_and_kind_and_the_longest_unused_goes,
        a_network_is_known_once_anybody_came_from_it,
        the_last_login_is_remembered_and_never_moves_back,
        averages_are_of_the_days_before_today,
        each_measure_is_kept_apart,
        usage_of_one_day_adds_up_and_saturates,
        the_first_use_of_an_app_password_stays_and_is_spent_once,
        an_allowance_goes_with_its_app_password_and_blocks_no_other_note,
        habits_go_with_their_user_and_a_reset_forgets_them,
        usage_is_kept_for_ninety_days,
        habits_are_forgotten_after_a_year_and_the_last_login_later,
    ;
    keys:
        a_key_check_binds_the_store_to_its_key,
        another_key_makes_anew_what_hangs_on_it_and_ends_the_windows,
        keys_that_were_in_force_are_remembered_until_they_are_again,
        what_cannot_be_made_anew_keeps_the_old_key_in_force,
        a_waiting_secret_that_cannot_be_opened_goes_and_a_revoked_app_password_is_in_nobodys_way,
        a_hash_is_kept_once_and_only_for_the_key_it_was_made_with,
        of_racing_changes_of_the_key_one_is_done,
        a_source_is_known_by_any_of_its_names,
        a_write_that_is_tried_leaves_everything_as_it_was,
    ;
    lists:
        bans_hold_until_they_end_or_are_lifted,
        sources_are_known_after_a_login_and_bounded,
        notes_are_written_together_and_the_newest_use_wins,
        app_passwords_that_ended_long_ago_are_swept,
        the_sweep_removes_what_is_over_and_nothing_else,
        revocations_and_bans_are_told_at_once_and_uses_are_not,
    ;
    replicas:
        what_a_replica_tells_the_others_see_and_it_does_not,
        what_was_told_is_forgotten_with_its_session_its_lease_or_its_replica,
        a_replica_that_was_forgotten_is_told_so,
        sessions_elsewhere_are_counted_by_user_and_network,
        an_order_to_end_sessions_reaches_everybody_and_is_told_at_once,
        replicas_that_live_are_counted,
        replicas_that_live_are_known_with_their_keys,
        failures_are_counted_together_forgiven_and_forgotten,
        what_is_known_of_a_source_is_heard_with_its_failures,
        an_open_window_of_the_credential_is_heard_of,
    ;
    counts:
        counts_are_heard_by_all_but_who_told_them,
        of_a_thing_that_has_moved_all_is_heard_and_of_others_nothing,
        what_was_counted_earlier_never_replaces_what_is_newer,
        counts_that_matter_no_more_are_neither_heard_nor_kept,
        many_counts_are_heard_in_turns_and_none_is_missed,
        replicas_that_tell_at_once_wait_for_each_other,
    ;
}

fn name(text: &str) -> UserName {
    UserName::parse(text.as_bytes()).unwrap()
}

async fn add(store: &Arc<dyn Store>, text: &str) -> UserName {
    let user = name(text);
    assert!(store.add_user(User::new(user.clone(), NOW)).await.unwrap());
    user
}

fn app_password(id: u32, user: &UserName) -> AppPassword {
    AppPassword {
        id,
        user: user.clone(),
        account: user.clone(),
        label: "phone".to_owned(),
        hash: [1; 32],
        public_key: [2; 32],
        public_key_mac: [3; 32],
        sealed: Some(vec![4; 50]),
        created: NOW,
        expires: None,
        networks: None,
        restrictions: Restrictions::default(),
        revoked: None,
        last_use: None,
    }
}

fn last_use(at: i64) -> LastUse {
    LastUse {
        at: UnixTime(at),
        from: "2001:db8::1".parse().unwrap(),
        client: Some("Mail 1.0".to_owned()),
    }
}

fn networks(cidr: &str) -> Option<Networks> {
    Some(Networks::new(vec![cidr.parse().unwrap()]))
}

fn consumption(user: &UserName, step: i64, key: u8) -> Consumption {
    Consumption {
        user: user.clone(),
        sealed: vec![9; 40],
        step,
        window: NewWindow {
            key: [key; 32],
            opened: NOW,
            expires: UnixTime(NOW.0 + 300),
            idle_since: UnixTime(NOW.0 - 7200),
            keep: 3,
        },
    }
}

async fn enrol(store: &Arc<dyn Store>, user: &UserName, step: i64) {
    assert!(store.begin_enrolment(user, vec![9; 40], NOW).await.unwrap());
    assert!(
        store
            .confirm_enrolment(user, vec![9; 40], step, NOW)
            .await
            .unwrap()
    );
}

async fn has_window(store: &Arc<dyn Store>, user: &UserName, key: u8) -> Option<WindowState> {
    let lookup = Lookup {
        user: user.clone(),
        app_password: None,
        window: Some([key; 32]),
        now: NOW,
        counted: None,
        before: Before::Nothing,
        visit: None,
    };
    store
        .look_up(lookup)
        .await
        .unwrap()
        .window
        .map(|window| window.state)
}

async fn epoch(store: &Arc<dyn Store>, user: &UserName) -> i64 {
    store.user(user).await.unwrap().unwrap().epoch
}
