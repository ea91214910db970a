//! Logins while the store is away: whoever has an open trusted window that this process knows of may be let in for a while, where
//! that is configured, and nobody else.

use std::sync::Arc;

use crate::auth::app_password;
use crate::auth::app_password::Typed;
use crate::auth::gate::Gate;
use crate::auth::gate::Open;
use crate::auth::gate::Pending;
use crate::auth::gate::Source;
use crate::auth::gate::Verified;
use crate::auth::gate::attempt::Attempt;
use crate::auth::gate::check_user;
use crate::auth::grace::Known;
use crate::auth::grace::Moment;
use crate::auth::grace::Opened;
use crate::auth::grace::Question;
use crate::auth::grace::Remembered;
use crate::auth::wire_code;
use crate::store::Found;
use crate::store::StoreError;
use crate::store::Subject;
use crate::store::User;
use crate::store::Window;
use crate::store::WindowState;
use crate::types::Credentials;
use crate::types::Prefix;
use crate::types::SessionId;
use crate::types::UnixTime;
use crate::types::UserName;

/// Windows that the store is asked about at once.
const AT_ONCE: usize = 256;

/// Somebody who was let in although the store is away.
#[derive(Debug, Clone)]
pub struct Granted {
    window: [u8; 32],
    expires: UnixTime,
    /// What rules may be told instead of what the store would say.
    pub remembered: Option<Arc<Remembered>>,
}

/// A window that a login has used, for the process to remember it.
#[derive(Debug)]
pub(super) struct Seen {
    user: User,
    opened: UnixTime,
    expires: UnixTime,
    /// When the store was asked, and its notices before that.
    at: Moment,
    notices: u64,
    /// False where it was not asked: then it has said nothing new.
    by_store: bool,
    remembered: Option<Arc<Remembered>>,
}

impl Pending {
    /// With what rules were told, for logins while the store is away.
    pub fn remembering(mut self, remembered: Option<Arc<Remembered>>) -> Self {
        if let Open::Window { seen: Some(seen), .. } = &mut self.open {
            seen.remembered = remembered;
        }
        self
    }
}

impl Gate {
    /// True where logins are remembered.
    #[must_use]
    pub fn has_grace(&self) -> bool {
        !self.options.windows.store_away.is_zero()
    }

    /// Somebody who may come in although the store does not answer: whose window was open when it last did, not longer ago than is
    /// configured. `None` for everybody else, who is to be told nothing but that.
    #[must_use]
    pub fn in_grace(&self, credentials: &Credentials, source: &Source, now: UnixTime) -> Option<Verified> {
        if !self.has_grace() || !self.options.wire_codes {
            return None;
        }
        let attempt = self.attempt(credentials, source, now);
        let pair = self.grace.pair(&credentials.user, Prefix::of(source.ip));
        let found = self.grace.find(
            (attempt.basis.window, pair),
            (attempt.basis.at, attempt.basis.notices),
            &self.options.windows,
        );
        let code = wire_code::split(&credentials.secret, &self.options.separators)?;
        let is_plain = |secret: &[u8]| matches!(app_password::read(secret), Typed::Other);
        if !is_plain(credentials.secret.expose()) || !is_plain(code.password.expose()) {
            return None;
        }
        let Known {
            user,
            window,
            remembered,
        } = found?;
        check_user(&user, source.ip).ok()?;
        let granted = Granted {
            window: attempt.basis.window,
            expires: window.expires,
            remembered,
        };
        let found = Found {
            user: Some(user),
            ..Found::default()
        };
        let mut verified = self.in_window(&attempt, &found, &code, &window);
        if let Open::Window { seen: Some(seen), .. } = &mut verified.pending.open {
            seen.by_store = false;
        }
        verified.granted = Some(granted);
        Some(verified)
    }

    /// What is remembered of a window once it is open until `expires`, where that is configured.
    pub(super) fn seen(
        &self,
        attempt: &Attempt<'_>,
        found: &Found,
        (opened, expires): (UnixTime, UnixTime),
    ) -> Option<Box<Seen>> {
        let user = found.user.clone().filter(|_| self.has_grace())?;
        Some(Box::new(Seen {
            user,
            opened,
            expires,
            at: attempt.basis.at,
            notices: attempt.basis.notices,
            by_store: true,
            remembered: None,
        }))
    }

    /// A login has used a window that is open.
    pub(super) fn remember(&self, key: [u8; 32], seen: Seen, from: Prefix, now: UnixTime) {
        if !seen.by_store {
            self.grace.used(&key, self.grace.at(now));
            return;
        }
        let window = Window {
            user: seen.user.name.clone(),
            state: WindowState::Open,
            opened: seen.opened,
            expires: seen.expires,
            last_used: seen.at.wall,
        };
        let pair = self.grace.pair(&window.user, from);
        let known = Known {
            user: seen.user,
            window,
            remembered: seen.remembered,
        };
        let told = (seen.at, seen.notices);
        self.grace
            .remember((key, pair), known, told, &self.options.windows);
    }

    /// Forgets what would let a user in while the store is away.
    pub fn forget(&self, user: &UserName) {
        self.grace.forget_user(user);
    }

    /// Asks the store whether what is remembered still stands: whenever its notices move, and every few seconds.
    ///
    /// # Errors
    /// Where it does not answer: what is remembered is as old as it was.
    pub async fn ask_about_windows(&self, now: UnixTime) -> Result<(), StoreError> {
        let options = &self.options.windows;
        let notices = self.store.notices();
        let at = self.grace.at(now);
        let questions = self.grace.questions((at, notices), options);
        for some in questions.chunks(AT_ONCE) {
            for (question, answer) in some.iter().zip(self.ask_store(some).await?) {
                self.grace.answered(&question.key, answer, (at, notices), options);
            }
        }
        if !options.store_away.is_zero() {
            self.grace.all_answered((at, notices));
        }
        Ok(())
    }

    /// The windows and their users, in the order asked.
    async fn ask_store(&self, some: &[Question]) -> Result<Vec<(Option<Window>, Option<User>)>, StoreError> {
        let windows = self
            .store
            .windows(some.iter().map(|question| question.key).collect())
            .await?;
        let subject = |question: &Question| Subject {
            user: question.user.clone(),
            account: question.user.clone(),
            app_password: None,
        };
        let standing = self.store.standing(some.iter().map(subject).collect()).await?;
        let is_open = |window: &Window| window.state == WindowState::Open;
        let windows = windows.into_iter().map(|window| window.filter(is_open));
        Ok(windows.zip(standing.into_iter().map(|each| each.user)).collect())
    }

    /// A session has begun although the store is away: as soon as it answers, its window is looked at.
    pub fn session_granted(&self, session: SessionId, granted: &Granted) {
        self.grace.opened(Opened {
            session,
            window: granted.window,
            expires: granted.expires,
        });
    }

    /// Sessions that began while the store was away, and whose window was ended meanwhile. Each is looked at once.
    ///
    /// # Errors
    /// Where the store does not answer: then they are looked at the next time.
    pub async fn wrongly_granted(&self, now: UnixTime) -> Result<Vec<SessionId>, StoreError> {
        let mut wrong = Vec::new();
        loop {
            let mut opened = self.grace.sessions();
            opened.truncate(AT_ONCE);
            if opened.is_empty() {
                return Ok(wrong);
            }
            let keys = opened.iter().map(|each| each.window).collect();
            let windows = match self.store.windows(keys).await {
                Ok(windows) => windows,
                // The others are looked at the next time.
                Err(_) if !wrong.is_empty() => return Ok(wrong),
                Err(error) => return Err(error),
            };
            let ended = opened.iter().zip(&windows);
            let ended = ended.filter(|(each, window)| window.is_none() && now < each.expires);
            wrong.extend(ended.map(|(each, _)| each.session));
            self.grace.sessions_checked(opened.len());
        }
    }
}
