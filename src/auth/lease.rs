//! What a live session stands on, and whether it still stands: revocation is asked of the store, never of a cache.

use std::net::IpAddr;

use crate::auth::gate::Gate;
use crate::policy::factor::Login;
use crate::store::Standing;
use crate::store::StoreError;
use crate::store::Subject;
use crate::store::User;
use crate::types::EndReason;
use crate::types::UnixTime;
use crate::types::UserName;

/// Sessions looked at in one question to the store.
const AT_ONCE: usize = 256;

/// What a session stands on: kept by the server beside each session.
#[derive(Debug, Clone)]
pub struct Lease {
    user: UserName,
    account: UserName,
    app_password: Option<u32>,
    /// The user's epoch at login; `None` for a user who was not in the store.
    epoch: Option<i64>,
    ip: IpAddr,
    /// What the policy decided by, where it asked for no second factor and none was brought.
    waived: Option<Login>,
}

impl Lease {
    pub(super) fn new(user: &User, account: UserName, app_password: Option<u32>, ip: IpAddr) -> Self {
        Self {
            user: user.name.clone(),
            account,
            app_password,
            epoch: Some(user.epoch),
            ip,
            waived: None,
        }
    }

    pub(crate) fn unknown(user: UserName, ip: IpAddr) -> Self {
        Self {
            account: user.clone(),
            user,
            app_password: None,
            epoch: None,
            ip,
            waived: None,
        }
    }

    /// Without a second factor.
    pub(super) fn waived(self, login: Login) -> Self {
        Self {
            waived: Some(login),
            ..self
        }
    }

    fn subject(&self) -> Subject {
        Subject {
            user: self.user.clone(),
            account: self.account.clone(),
            app_password: self.app_password,
        }
    }

    /// Why the session must end, if it must.
    fn end(&self, standing: &Standing, now: UnixTime) -> Option<EndReason> {
        // Removed, reset, disabled, or a new one-time secret since the login.
        if self.epoch != standing.user.as_ref().map(|user| user.epoch) && self.epoch.is_some() {
            return Some(EndReason::Revoked);
        }
        for user in [&standing.user, &standing.account].into_iter().flatten() {
            if user.disabled {
                return Some(EndReason::Revoked);
            }
            if user
                .networks
                .as_ref()
                .is_some_and(|networks| !networks.contains(self.ip))
            {
                return Some(EndReason::PolicyChanged);
            }
        }
        self.app_password?;
        let app_password = standing.app_password.as_ref();
        if !app_password.is_some_and(|found| found.is_live(now)) {
            return Some(EndReason::Revoked);
        }
        let networks = app_password.and_then(|found| found.networks.as_ref());
        networks
            .is_some_and(|networks| !networks.contains(self.ip))
            .then_some(EndReason::PolicyChanged)
    }
}

impl Gate {
    /// True where the policy that is in force now would still let the session in as it came: with its second factor, or
    /// without one.
    #[must_use]
    pub fn still_admits(&self, lease: &Lease, now: UnixTime) -> bool {
        match lease.waived {
            None => true,
            Some(login) => self.waives(&Login { now, ..login }, lease.epoch.is_some()),
        }
    }

    /// Says for each lease, in order, why its session must end now, if it must. To be asked whenever the store's
    /// [`changes`](crate::store::Store::changes) move, and every minute or so for what expires.
    ///
    /// # Errors
    /// Where the store does not answer: sessions that are open go on.
    pub async fn recheck(
        &self,
        leases: &[Lease],
        now: UnixTime,
    ) -> Result<Vec<Option<EndReason>>, StoreError> {
        let mut ends = Vec::with_capacity(leases.len());
        // In pieces: a login does not wait until ten thousand sessions have been looked at.
        for some in leases.chunks(AT_ONCE) {
            let subjects = some.iter().map(Lease::subject).collect();
            let standings = self.store().standing(subjects).await?;
            ends.extend(
                some.iter()
                    .zip(&standings)
                    .map(|(lease, standing)| lease.end(standing, now)),
            );
        }
        Ok(ends)
    }
}
