//! `imapwarden user enroll-totp`: a QR code in the terminal, then a first code to prove that the app has it.
//!
//! The secret is in force only once that code was right; until then the one before, if any, stays.

use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use serde_json::json;
use zeroize::Zeroizing;

use crate::auth::accounts::Enrolment;
use crate::cli::Context;
use crate::cli::args::EnrollTotp;
use crate::cli::error::CliError;
use crate::cli::place::Opened;
use crate::cli::secrets;
use crate::server::clock;

/// What authenticator apps show above the code.
const ISSUER: &str = "imapwarden";

pub(super) async fn run(cx: &mut Context<'_>, asked: &EnrollTotp) -> Result<(), CliError> {
    let opened = cx.open().await?;
    if asked.confirm {
        return confirm(cx, &opened, asked).await;
    }
    let accounts = opened.accounts();
    let enrolment = accounts.begin_totp(&asked.name, ISSUER, cx.now).await?;
    show(cx, asked, &enrolment)?;
    // A program that shows the QR code itself comes back with --confirm.
    if asked.begin || (cx.out.is_json() && !asked.code_stdin) {
        return Ok(());
    }
    confirm(cx, &opened, asked).await
}

async fn confirm(cx: &mut Context<'_>, opened: &Opened, asked: &EnrollTotp) -> Result<(), CliError> {
    let code = secrets::code(asked.code_stdin)?;
    // People took their time to scan: the code belongs to this moment, not to the command's beginning.
    let accounts = opened.accounts();
    accounts.confirm_totp(&asked.name, &code, clock::unix()).await?;
    let value = json!({"user": asked.name.as_str(), "enrolled": true});
    let text = format!(
        "{} is enrolled. The next login asks for a new code behind the mail password.",
        asked.name
    );
    Ok(cx.out.either(&value, &text)?)
}

fn show(cx: &mut Context<'_>, asked: &EnrollTotp, enrolment: &Enrolment) -> Result<(), CliError> {
    let text = |secret: &[u8]| Zeroizing::new(String::from_utf8_lossy(secret).into_owned());
    let (url, typed) = (text(enrolment.url.expose()), text(enrolment.typed.expose()));
    if cx.out.is_json() {
        let value = json!({"user": asked.name.as_str(), "url": url.as_str(), "secret": typed.as_str()});
        return Ok(cx.out.json(&value)?);
    }
    let code = draw(url.as_bytes())?;
    cx.out.bytes(code.as_bytes())?;
    cx.out.line(&format!(
        "Scan this with an authenticator app, or type the secret:\n\n    {}\n\n    {}\n",
        typed.as_str(),
        url.as_str()
    ))?;
    if asked.begin {
        let next = format!("Then run `imapwarden user enroll-totp {} --confirm`.", asked.name);
        cx.out.line(&next)?;
    }
    Ok(())
}

/// Half blocks, light on dark as most terminals are; apps read it the other way round as well.
fn draw(url: &[u8]) -> Result<Zeroizing<String>, CliError> {
    let code = QrCode::new(url)?;
    let drawn = code
        .render::<Dense1x2>()
        .dark_color(Dense1x2::Light)
        .light_color(Dense1x2::Dark)
        .quiet_zone(true)
        .build();
    Ok(Zeroizing::new(drawn))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_a_square_with_a_quiet_zone() {
        let drawn = draw(b"otpauth://totp/imapwarden:alice?secret=AAAA").unwrap();
        let lines: Vec<&str> = drawn.lines().collect();
        let width = lines[0].chars().count();
        assert!(lines.iter().all(|line| line.chars().count() == width));
        assert_eq!(lines.len(), width.div_ceil(2));
        assert!(lines[0].chars().all(|c| c == '\u{2588}'), "{}", lines[0]);
    }
}
