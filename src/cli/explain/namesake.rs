//! Who is meant by a name that is not listed.

use crate::cli::explain::Explanation;
use crate::cli::explain::Says;
use crate::cli::explain::Sources;
use crate::cli::explain::arguments::Credential;
use crate::cli::explain::arguments::ExplainLogin;
use crate::store::Found;

/// Whom the proxy takes somebody for who is not listed, but for the case of letters.
pub(super) fn as_listed(
    sources: &Sources,
    asked: &ExplainLogin,
    found: &Found,
    explanation: &mut Explanation,
) -> Option<ExplainLogin> {
    let admits = sources.config.second_factor.admit_unknown_users;
    let is_by_password = !matches!(asked.with, Credential::AppPassword(_));
    let [listed] = found.namesakes.as_slice() else {
        return None;
    };
    if found.user.is_some() || !admits || !is_by_password {
        return None;
    }
    let why = format!(
        "{} is taken for {listed}, whose codes it does not take",
        asked.user
    );
    let place = format!("store (imapwarden user show {listed})");
    explanation.says(Says::Notes, "user", why, place);
    Some(ExplainLogin {
        user: listed.clone(),
        ..asked.clone()
    })
}
