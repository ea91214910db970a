//! LOGIN: two prompts, a name and a password. Never standardised (draft-murchison-sasl-login-00 describes it); old Outlook
//! and scripts know nothing else.

use crate::sasl::Exchange;
use crate::sasl::Progress;
use crate::sasl::Response;
use crate::sasl::SaslError;
use crate::types::Credentials;
use crate::types::Mechanism;
use crate::types::Secret;
use crate::types::UserName;

/// `Username:`, the one spelling that old clients compare with.
const USER_PROMPT: &str = "VXNlcm5hbWU6";

/// `Password:`.
const PASSWORD_PROMPT: &str = "UGFzc3dvcmQ6";

/// Asks for the name. An initial response is the name.
pub(super) fn begin() -> Progress {
    Progress::Challenge(USER_PROMPT, Box::new(WaitingForUser))
}

struct WaitingForUser;

impl Exchange for WaitingForUser {
    fn respond(self: Box<Self>, user: Response) -> Result<Progress, SaslError> {
        // The name is judged with the password: a refusal after the first prompt would answer sooner than for other names.
        Ok(Progress::Challenge(
            PASSWORD_PROMPT,
            Box::new(WaitingForPassword { user }),
        ))
    }
}

struct WaitingForPassword {
    user: Response,
}

impl Exchange for WaitingForPassword {
    fn respond(self: Box<Self>, password: Response) -> Result<Progress, SaslError> {
        // No other way to log in could carry a NUL to a backend.
        if password.bytes().contains(&0) {
            return Err(SaslError::Malformed);
        }
        Ok(Progress::Done(Credentials {
            user: UserName::parse(self.user.bytes())?,
            secret: Secret::from(password.bytes()),
            mechanism: Mechanism::SaslLogin,
        }))
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::sasl::tests::run;

    #[test]
    fn the_prompts_read_username_and_password() {
        assert_eq!(STANDARD.decode(USER_PROMPT).unwrap(), b"Username:");
        assert_eq!(STANDARD.decode(PASSWORD_PROMPT).unwrap(), b"Password:");
    }

    #[test]
    fn two_prompts_lead_to_credentials() {
        assert_eq!(
            run("LOGIN", None, &["dGlt", "cHc="]),
            ["+ VXNlcm5hbWU6", "+ UGFzc3dvcmQ6", "tim:pw by SaslLogin"]
        );
    }

    #[test]
    fn an_initial_response_is_the_name() {
        assert_eq!(
            run("LOGIN", Some("dGlt"), &["cHc="]),
            ["+ UGFzc3dvcmQ6", "tim:pw by SaslLogin"]
        );
    }

    #[test]
    fn an_empty_initial_response_is_none() {
        assert_eq!(
            run("LOGIN", Some("="), &["dGlt", "cHc="]),
            ["+ VXNlcm5hbWU6", "+ UGFzc3dvcmQ6", "tim:pw by SaslLogin"]
        );
    }

    #[test]
    fn either_prompt_can_be_cancelled() {
        assert_eq!(run("LOGIN", None, &["*"]), ["+ VXNlcm5hbWU6", "Cancelled"]);
        assert_eq!(
            run("LOGIN", None, &["dGlt", "*"]),
            ["+ VXNlcm5hbWU6", "+ UGFzc3dvcmQ6", "Cancelled"]
        );
    }

    #[test]
    fn a_bad_name_is_refused_only_after_the_password() {
        let name = STANDARD.encode("bob\0");
        assert_eq!(
            run("LOGIN", Some(&name), &["cHc="]),
            ["+ UGFzc3dvcmQ6", "User(Control)"]
        );
        assert_eq!(
            run("LOGIN", None, &["", "cHc="]),
            ["+ VXNlcm5hbWU6", "+ UGFzc3dvcmQ6", "User(Empty)"]
        );
    }

    #[test]
    fn a_password_has_no_nul() {
        let password = STANDARD.encode("p\0w");
        assert_eq!(
            run("LOGIN", Some("dGlt"), &[&password]),
            ["+ UGFzc3dvcmQ6", "Malformed"]
        );
    }
}
