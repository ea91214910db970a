//! Logins with the main password: through a trusted window, with a code, or alone where nothing more is asked for.

use crate::auth::app_password;
use crate::auth::app_password::Typed;
use crate::auth::gate::Gate;
use crate::auth::gate::GateError;
use crate::auth::gate::Open;
use crate::auth::gate::Pending;
use crate::auth::gate::Verified;
use crate::auth::gate::attempt::Attempt;
use crate::auth::gate::check_user;
use crate::auth::gate::key_moves;
use crate::auth::lease::Lease;
use crate::auth::totp;
use crate::auth::wire_code;
use crate::auth::wire_code::WireCode;
use crate::policy::factor::Demand;
use crate::policy::factor::Login;
use crate::policy::factor::Requirement;
use crate::policy::factor::Waiver;
use crate::store;
use crate::store::Before;
use crate::store::Consumption;
use crate::store::Found;
use crate::store::Lookup;
use crate::store::MfaSetting;
use crate::store::StoreError;
use crate::store::WindowState;
use crate::types::Authenticated;
use crate::types::BackendCredentials;
use crate::types::Prefix;
use crate::types::Refusal;
use crate::types::SecondFactor;
use crate::types::Secret;

impl Gate {
    pub(super) async fn by_password(
        &self,
        attempt: &Attempt<'_>,
        found: &Found,
    ) -> Result<Verified, GateError> {
        let Attempt {
            credentials, source, ..
        } = *attempt;
        let code = wire_code::split(&credentials.secret, &self.options.separators);
        let step = step_of(attempt, found, code.as_ref())?;
        // Somebody typed a code behind an app password: it is no main password, and no backend may hear it.
        let behind = code
            .as_ref()
            .map(|code| app_password::read(code.password.expose()));
        if !matches!(behind, None | Some(Typed::Other)) {
            return Err(Refusal::AppPasswordMistyped.into());
        }
        let listed = self.as_listed(attempt, found).await?;
        let found = listed.as_ref().unwrap_or(found);
        match &found.user {
            Some(user) => check_user(user, source.ip)?,
            None if self.options.admit_unknown => {}
            None => return Err(Refusal::UnknownUser.into()),
        }
        // An empty password is an anonymous login at some backends.
        if credentials.secret.is_empty() {
            return Err(Refusal::PasswordInvalid.into());
        }
        let mut refusal = Refusal::SecondFactorMissing;
        if let (Some(code), Some(totp), true) = (code, &found.totp, self.options.wire_codes) {
            if let Some(verified) = self.by_window(attempt, found, &code) {
                return Ok(verified);
            }
            if let Some(step) = step {
                return self.by_code(attempt, found, totp, &code, step).await;
            }
            refusal = Refusal::CodeInvalid;
        }
        let login = facts(attempt, found);
        let waiver = match self.policy.decide(&login).demand {
            Demand::SecondFactor => return Err(refusal.into()),
            Demand::Nothing(waiver) => waiver,
        };
        let factor = match waiver {
            Waiver::Exempt => SecondFactor::Exempt,
            Waiver::Optional | Waiver::EnrolmentOpen | Waiver::Monitored => SecondFactor::NotEnrolled,
        };
        let mut verified = password_login(attempt, found, factor, credentials.secret.clone(), Open::Nothing);
        verified.lease = verified.lease.waived(login);
        verified.monitored = (waiver == Waiver::Monitored).then_some(refusal);
        Ok(verified)
    }

    /// Whom the mail server may take a name for that is not listed itself, but for the case of its letters: what is asked of them is
    /// asked of whoever comes by it, or another spelling would do without the second factor, and by a password alone. Where it may be
    /// several, or letters that databases fold each in its own way, nobody knows.
    async fn as_listed(&self, attempt: &Attempt<'_>, found: &Found) -> Result<Option<Found>, GateError> {
        if found.user.is_some() || !self.options.admit_unknown {
            return Ok(None);
        }
        let listed = match found.namesakes.as_slice() {
            [] if attempt.credentials.user.is_ascii() => return Ok(None),
            [listed] => listed.clone(),
            _ => return Err(Refusal::UnknownUser.into()),
        };
        let lookup = Lookup {
            user: listed,
            ..attempt.lookup(None, Before::Nothing)
        };
        let listed = self.store.look_up(lookup).await?;
        Ok(Some(Found {
            has_app_passwords: listed.has_app_passwords || listed.totp.is_some(),
            // Codes and windows are kept by the name as it is listed.
            totp: None,
            window: None,
            ..listed
        }))
    }

    /// Whether nothing but the password is asked for.
    pub(in crate::auth) fn waives(&self, login: &Login, is_known: bool) -> bool {
        let demand = self.policy.decide(login).demand;
        (is_known || self.options.admit_unknown) && demand != Demand::SecondFactor
    }

    fn by_window(&self, attempt: &Attempt<'_>, found: &Found, code: &WireCode) -> Option<Verified> {
        let window = found.window.as_ref()?;
        let admits = self
            .options
            .windows
            .admits(window, &attempt.credentials.user, attempt.basis.now);
        admits.then(|| self.in_window(attempt, found, code, window))
    }

    pub(super) fn in_window(
        &self,
        attempt: &Attempt<'_>,
        found: &Found,
        code: &WireCode,
        window: &store::Window,
    ) -> Verified {
        let expires = match window.state {
            WindowState::Pending => window.opened.plus(self.options.windows.total),
            WindowState::Open => window.expires,
        };
        let open = Open::Window {
            key: attempt.basis.window,
            opened: window.opened,
            state: window.state,
            seen: self.seen(attempt, found, (window.opened, expires)),
        };
        password_login(
            attempt,
            found,
            SecondFactor::TrustedWindow,
            code.password.clone(),
            open,
        )
    }

    /// A right code: the first login with it consumes it. One with the very same credential that lost the race finds the
    /// window which the winner opened in the same transaction; anybody else is told nothing.
    async fn by_code(
        &self,
        attempt: &Attempt<'_>,
        found: &Found,
        totp: &store::Totp,
        code: &WireCode,
        step: i64,
    ) -> Result<Verified, GateError> {
        let (credentials, now) = (attempt.credentials, attempt.basis.now);
        // What was read is consistent: consumed, and no window of this credential. No need to ask the writer.
        if step <= totp.last_step {
            return Err(Refusal::CodeReplayed.into());
        }
        let consumption = Consumption {
            user: credentials.user.clone(),
            sealed: totp.sealed.clone(),
            step,
            window: self.options.windows.pending(attempt.basis.window, now),
        };
        if self.store.consume_step(consumption).await? {
            let open = Open::Window {
                key: attempt.basis.window,
                opened: now,
                state: WindowState::Pending,
                seen: self.seen(attempt, found, (now, now.plus(self.options.windows.total))),
            };
            let password = code.password.clone();
            return Ok(password_login(attempt, found, SecondFactor::Totp, password, open));
        }
        let lookup = attempt.lookup(None, Before::Nothing);
        let again = self.store.look_up(lookup).await?;
        // The secret was sealed anew: the code is as good as before, and nobody has used it.
        if again.key != found.key {
            return Err(key_moves().into());
        }
        self.by_window(attempt, &again, code)
            .ok_or_else(|| Refusal::CodeReplayed.into())
    }
}

/// The step of the code typed. Where there is no secret or no code, one of nobody is checked: the work is the same.
fn step_of(attempt: &Attempt<'_>, found: &Found, code: Option<&WireCode>) -> Result<Option<i64>, StoreError> {
    let user = &attempt.credentials.user;
    let sealed = found.totp.as_ref().map(|totp| (user, totp.sealed.as_slice()));
    let (name, sealed) = sealed.unwrap_or(attempt.basis.keys.decoy());
    let Some(secret) = attempt.basis.keys.open_totp(name, sealed) else {
        return Err(StoreError::Damaged(
            "a one-time secret cannot be opened".to_owned(),
        ));
    };
    let nothing = Secret::from("000000");
    let step = totp::step_of(
        &secret,
        code.map_or(&nothing, |code| &code.code),
        attempt.basis.typed,
    );
    Ok(step.filter(|_| found.totp.is_some() && code.is_some()))
}

/// What the policy decides by.
fn facts(attempt: &Attempt<'_>, found: &Found) -> Login {
    let user = found.user.as_ref();
    Login {
        ip: attempt.source.ip,
        now: attempt.basis.now,
        requirement: user.and_then(|user| user.mfa).map(requirement),
        deadline: user.and_then(|user| user.enrol_by),
        enrolled: found.totp.is_some() || found.has_app_passwords,
    }
}

fn requirement(setting: MfaSetting) -> Requirement {
    match setting {
        MfaSetting::Required => Requirement::Required,
        MfaSetting::Optional => Requirement::Optional,
        MfaSetting::Exempt => Requirement::Exempt,
    }
}

/// A login with the main password: the user's own account, by the name that is listed.
fn password_login(
    attempt: &Attempt<'_>,
    found: &Found,
    factor: SecondFactor,
    password: Secret,
    open: Open,
) -> Verified {
    let listed = found.user.as_ref().map(|user| &user.name);
    let user = listed.unwrap_or(&attempt.credentials.user).clone();
    Verified {
        lease: match &found.user {
            Some(known) => Lease::new(known, user.clone(), None, attempt.source.ip),
            None => Lease::unknown(user.clone(), attempt.source.ip),
        },
        groups: found
            .user
            .as_ref()
            .map(|user| user.groups.clone())
            .unwrap_or_default(),
        authenticated: Authenticated::vouch(
            user.clone(),
            user.clone(),
            factor,
            BackendCredentials::Password(password),
        ),
        pending: Pending {
            // Where somebody comes from is asked by what is typed.
            user: attempt.credentials.user.clone(),
            from: Prefix::of(attempt.source.ip),
            open,
        },
        monitored: None,
        elsewhere: found.elsewhere,
        granted: None,
    }
}
