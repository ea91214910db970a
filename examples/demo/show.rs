//! What the demo prints.
#![allow(clippy::print_stdout, reason = "it is a demo: printing is its purpose")]

use std::net::SocketAddr;
use std::path::Path;

use imapwarden::types::Secret;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;

use crate::enrol::Alice;

/// Everything that somebody needs to try it.
pub fn invitation(addr: SocketAddr, certificate: &Path, alice: &Alice) -> String {
    let port = addr.port();
    let app_password = text(&alice.app_password);
    let mail_password = text(&alice.mail_password);
    let certificate = certificate.display();
    format!(
        "
  imapwarden listens at 127.0.0.1:{port} (TLS); behind it stands an old IMAP server that knows only passwords.

  user           {name}
  app password   {app_password}
  mail password  {mail_password}   (refused without a code: that is the point)

  List her mailboxes, read a message:
    curl --cacert {certificate} --user '{name}:{app_password}' imaps://localhost:{port}/
    curl --cacert {certificate} --user '{name}:{app_password}' 'imaps://localhost:{port}/INBOX;UID=2'

  Be refused, with the right mail password but no second factor:
    curl --cacert {certificate} --user '{name}:{mail_password}' imaps://localhost:{port}/

  Talk IMAP yourself, with the mail password and the code that your authenticator app shows:
    openssl s_client -connect localhost:{port} -CAfile {certificate} -servername localhost -crlf -quiet
    a LOGIN {name} {mail_password};123456
    b LIST \"\" *
    c LOGOUT

  Thunderbird: New Account, any name, {name}@localhost, Configure manually:
    incoming IMAP, host localhost, port {port}, SSL/TLS, Normal password, user name {name},
    password: the app password. Confirm the exception for the self-made certificate.

  For the codes, scan this, or type {typed} into an authenticator app:

{qr}",
        name = alice.name,
        typed = text(&alice.totp_typed),
        qr = qr(&alice.totp_url),
    )
}

/// The QR code in half blocks, dark on light whatever the terminal's colours are.
fn qr(url: &Secret) -> String {
    let Ok(code) = QrCode::new(url.expose()) else {
        return text(url);
    };
    let blocks = code
        .render::<Dense1x2>()
        .dark_color(Dense1x2::Dark)
        .light_color(Dense1x2::Light)
        .build();
    let lines = blocks
        .lines()
        .map(|line| format!("    \x1b[38;5;16;48;5;231m{line}\x1b[0m\n"));
    lines.collect()
}

/// The demo's secrets are made to be shown.
pub fn text(secret: &Secret) -> String {
    String::from_utf8_lossy(secret.expose()).into_owned()
}
