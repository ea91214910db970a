//! One-time codes (RFC 6238): SHA-1, six digits, thirty seconds, one step of skew to either side.
//!
//! Which step a code belongs to is found here; that no step is used twice is the store's part.

use aws_lc_rs::error::Unspecified;
use thiserror::Error;
use totp_rs::Algorithm;
use totp_rs::Builder;
use totp_rs::Totp;

use crate::auth::random;
use crate::types::Secret;
use crate::types::UnixTime;
use crate::types::UserName;

/// Length of a secret: what RFC 4226, section 4 recommends, and what every authenticator app takes.
const SECRET: usize = 20;

/// Why there is no generator of codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TotpError {
    /// The secret is too short to be one.
    #[error("the one-time secret is not usable")]
    Unusable,
    /// The random source failed.
    #[error("the random source failed")]
    Random,
}

impl From<Unspecified> for TotpError {
    fn from(_: Unspecified) -> Self {
        Self::Random
    }
}

/// Draws a new secret.
///
/// # Errors
/// Where the random source fails.
pub fn generate() -> Result<Secret, TotpError> {
    let drawn = random::bytes::<SECRET>()?;
    Ok(Secret::from(drawn.as_slice()))
}

/// The time step whose code this is, among the step of `now` and its two neighbours; each is tried, whichever is right.
#[must_use]
pub fn step_of(secret: &Secret, code: &Secret, now: UnixTime) -> Option<i64> {
    let code = std::str::from_utf8(code.expose()).ok()?;
    let now = u64::try_from(now.0).ok()?;
    let step = builder(secret).build().ok()?.check(code, now)?;
    i64::try_from(step).ok()
}

/// The address that authenticator apps read from a QR code, and the secret in base 32 for typing. Both are secrets.
///
/// # Errors
/// Where the secret is not usable.
pub fn invitation(secret: &Secret, user: &UserName, issuer: &str) -> Result<(Secret, Secret), TotpError> {
    // A colon separates issuer and account in that address; apps would read a name with one wrongly.
    let account = user.as_str().replace(':', "_");
    let issuer = issuer.replace(':', "_");
    let totp = builder(secret)
        .with_account_name(account)
        .with_issuer(Some(issuer))
        .build()
        .map_err(|_| TotpError::Unusable)?;
    let url = totp.to_url().map_err(|_| TotpError::Unusable)?;
    let typed = totp.secret().to_base32();
    Ok((Secret::new(url.into_bytes()), Secret::new(typed.into_bytes())))
}

/// SHA-1 on purpose: authenticator apps accept other algorithms and then use SHA-1 all the same.
fn builder(secret: &Secret) -> Builder {
    Builder::new()
        .with_algorithm(Algorithm::SHA1)
        .with_digits(6)
        .with_skew(1)
        .with_step_duration(30)
        .with_secret(secret.expose().to_vec())
}

/// The code of the step at `now`, as an authenticator app shows it: for tests and demonstrations.
#[must_use]
pub fn code_at(secret: &Secret, now: UnixTime) -> Option<String> {
    let now = u64::try_from(now.0).ok()?;
    let totp: Totp = builder(secret).build().ok()?;
    Some(totp.generate(now).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> Secret {
        Secret::from("12345678901234567890")
    }

    fn code(text: &str) -> Secret {
        Secret::from(text)
    }

    #[test]
    fn the_examples_of_rfc_6238_hold() {
        // Appendix B has eight digits; six are the last six of them.
        for (at, shown) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_234_567_890, "005924"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(code_at(&secret(), UnixTime(at)).unwrap(), shown);
            assert_eq!(step_of(&secret(), &code(shown), UnixTime(at)), Some(at / 30));
        }
    }

    #[test]
    fn a_clock_may_be_one_step_off_and_no_more() {
        let shown = code(&code_at(&secret(), UnixTime(3_000)).unwrap());
        for (now, accepted) in [
            (2_969, false),
            (2_970, true),
            (3_000, true),
            (3_029, true),
            (3_030, true),
            (3_059, true),
            (3_060, false),
        ] {
            let step = step_of(&secret(), &shown, UnixTime(now));
            assert_eq!(step, accepted.then_some(100), "{now}");
        }
    }

    #[test]
    fn nothing_but_six_ascii_digits_is_a_code() {
        for wrong in [
            "",
            "28708",
            "2870821",
            "+87082",
            "28708x",
            "２８７０８２",
            " 28708",
        ] {
            assert_eq!(step_of(&secret(), &code(wrong), UnixTime(59)), None, "{wrong}");
        }
        assert_eq!(step_of(&secret(), &code("287082"), UnixTime(-1)), None);
        assert_eq!(step_of(&code("short"), &code("287082"), UnixTime(59)), None);
    }

    #[test]
    fn the_invitation_is_what_authenticator_apps_read() {
        let user = UserName::parse(b"a:b@example.org").unwrap();
        let (url, typed) = invitation(&secret(), &user, "Mail: Example").unwrap();
        let url = String::from_utf8(url.expose().to_vec()).unwrap();
        assert!(
            url.starts_with("otpauth://totp/Mail_%20Example:a_b%40example.org?"),
            "{url}"
        );
        assert!(url.contains("secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"), "{url}");
        assert_eq!(typed, code("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"));
        assert_eq!(Totp::from_url(&url).unwrap().generate(59).to_string(), "287082");
    }

    #[test]
    fn drawn_secrets_differ() {
        assert_ne!(generate().unwrap(), generate().unwrap());
        assert_eq!(generate().unwrap().len(), SECRET);
    }
}
