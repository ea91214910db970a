//! The word lists: one line for each language, entries without accents and in lower case, divided by commas.
//!
//! An entry fits words that begin with it; `=` before it, only the word itself; `~`, any place, for writing without spaces.
//! Words that everybody uses every day are left out, however well they would fit.

use crate::imap::terms::Category;

/// The entries of each category. English, German, French, Spanish, Italian, Portuguese, Dutch, Polish, Czech, the Nordic
/// languages, Hungarian, Turkish, Russian and Ukrainian, Greek, Chinese and Japanese.
pub(super) const WORDS: &[(Category, &[&str])] = &[
    (Category::Payment, PAYMENT),
    (Category::Bank, BANK),
    (Category::Credential, CREDENTIAL),
    (Category::Legal, LEGAL),
    (Category::Hr, HR),
    (Category::Security, SECURITY),
];

const PAYMENT: &[&str] = &[
    "invoice, payment, =payable, remittance, =wire, transfer, purchase order, overdue, past due, refund, billing, proforma, \
     pro forma, credit note",
    "rechnung, zahlung, uberweisung, ueberweisung, mahnung, gutschrift, lastschrift, abrechnung, vorkasse, skonto",
    "facture, paiement, virement, remboursement, impaye, echeance",
    "factura, =pago, =pagos, transferencia, reembolso, cobranza, albaran",
    "fattura, fatture, pagament, bonifico, bonifici, rimborso",
    "fatura, boleto, nota fiscal",
    "factuur, facturen, betaling, overboeking, overschrijving, aanmaning",
    "faktur, platnosc, przelew, zaplata, wplata",
    "platba, platby, uhrada, uhrady, prevodni prikaz",
    "betalning, overforing, overforsel, inbetalning, lasku, maksu",
    "szamla, atutalas, dijbekero",
    "odeme, havale",
    "оплат, платеж, платіж, инвоис, накладн, рахунок фактура, счет фактура, переказ",
    "τιμολογ, πληρωμ, εμβασμα",
    "~发票, ~發票, ~付款, ~汇款, ~匯款, ~转账, ~轉帳",
    "~請求書, ~支払, ~振込, ~送金",
];

const BANK: &[&str] = &[
    "bank, =iban, =bic, =swift, account number, routing number, sort code, credit card, debit card, card number, =cvv, =cvc, \
     beneficiary, direct deposit, wire instructions, bitcoin, crypto wallet",
    "=konto, =konten, kontonummer, kontoauszug, kontodaten, kontostand, kreditkarte, sparkasse, kartennummer",
    "banque, compte bancaire, =rib, carte bancaire, carte de credit, releve de compte",
    "banco, cuenta bancaria, numero de cuenta, tarjeta de credito, datos bancarios, datos de pago",
    "banca, conto corrente, carta di credito, coordinate bancarie",
    "conta bancaria, conta corrente, cartao de credito, extrato",
    "rekening, creditcard, betaalpas",
    "numer konta, rachunek, rachunku, karta kredytowa, karty kredytowej",
    "cislo uctu, kreditni karta, platebni karta",
    "kreditkort, clearingnummer, tilinumero, luottokortti",
    "hitelkartya",
    "hesap numara, kredi kart",
    "банк, реквизит, реквізит, номер счета, номер рахунку, кредитная карта",
    "τραπεζ, λογαριασμ",
    "~银行, ~账户, ~账号, ~信用卡",
    "~銀行, ~口座, ~クレジットカード",
];

const CREDENTIAL: &[&str] = &[
    "password, passwd, passphrase, passcode, =pwd, credential, =login, =logins, username, user name, private key, secret key, \
     api key, =apikey, access key, seed phrase, recovery phrase, recovery key, recovery code, backup code, =vpn, =ssh, keystore",
    "passwort, passworter, passwoerter, kennwort, zugangsdaten, anmeldedaten, benutzername",
    "mot de passe, mots de passe, identifiant, nom d utilisateur",
    "contrasena, =clave, =claves, credencial, nombre de usuario",
    "credenzial, nome utente",
    "senha, palavra passe, credencia, nome de usuario",
    "wachtwoord, inloggegevens, gebruikersnaam",
    "=haslo, =hasla, =hasel, =haslem, dane logowania, nazwa uzytkownika",
    "=heslo, =hesla, prihlasovaci",
    "losenord, adgangskode, kodeord, passord, salasana, inloggningsuppgifter",
    "jelszo, jelszav, felhasznalonev",
    "=sifre, sifreniz, parola, kullanici adi",
    "парол, логин, учетные данные, учетнои запис",
    "κωδικοσ προσβασησ, συνθηματικο",
    "~密码, ~密碼, ~口令, ~用户名",
    "~パスワード, ~暗証番号",
];

const LEGAL: &[&str] = &[
    "contract, =nda, =ndas, non disclosure, lawsuit, litigation, attorney, lawyer, settlement, =legal, confidential, subpoena, \
     merger, acquisition, due diligence, term sheet, power of attorney",
    "vertrag, vertrage, vertraege, anwalt, anwaelt, rechtsstreit, geheimhaltung, vertraulich, kaufvertrag, amtsgericht, \
     landgericht, vollmacht",
    "contrat, avocat, juridique, confidentiel, litige, tribunal, mise en demeure",
    "contrato, abogad, juzgado, confidencial, demanda judicial",
    "contratto, contratti, avvocat, riservat, tribunale",
    "advogad, acao judicial, procuracao",
    "overeenkomst, advocaat, vertrouwelijk, rechtbank, geheimhouding",
    "umowa, umowy, umowe, adwokat, poufne, poufny, radca prawny, pelnomocnictwo",
    "smlouva, smlouvy, smlouvu, advokat, plna moc",
    "avtal, domstol, kontrakt, fortrolig, sopimus, asianajaja, luottamuksellinen",
    "szerzodes, ugyved",
    "sozlesme, avukat",
    "договор, договір, адвокат, юрист, доверенност, конфиденциальн",
    "συμβολαι, δικηγορ, εμπιστευτικ",
    "~合同, ~律师, ~律師, ~保密",
    "~契約, ~弁護士, ~機密",
];

const HR: &[&str] = &[
    "salary, salaries, payroll, payslip, pay slip, pay stub, =wage, =wages, employee, human resources, resignation, severance, \
     =w2, tax return, social security, =ssn, passport, personnel, curriculum vitae, =cv, background check",
    "gehalt, gehalter, =lohn, lohnabrechnung, lohnsteuer, gehaltsabrechnung, kundigung, kuendigung, bewerbung, personalakt, \
     personalabteilung, arbeitsvertrag, sozialversicherung, reisepass, krankmeldung",
    "salaire, bulletin de paie, fiche de paie, licenciement, ressources humaines, securite sociale, passeport",
    "=nomina, =nominas, salario, sueldo, despido, recursos humanos, seguridad social, pasaporte",
    "stipendio, stipendi, busta paga, buste paga, licenziament, risorse umane, codice fiscale, passaporto",
    "folha de pagamento, demissao, holerite, seguranca social, passaporte",
    "salaris, loonstrook, ontslag, sollicitatie, personeel, =bsn, paspoort",
    "wynagrodzen, lista plac, listy plac, zwolnienie, =pesel, zasoby ludzkie, paszport",
    "=mzda, =mzdy, vyplatni paska, vypoved, rodne cislo",
    "lonebesked, lonespecifikation, lonseddel, oppsigelse, uppsagning, palkka, irtisanominen",
    "berjegyzek, fizetesi jegyzek, felmondas",
    "bordro, istifa",
    "зарплат, заработн, увольнен, звільнен, трудовои договор, паспорт",
    "μισθοδοσ, απολυση",
    "~工资, ~薪资, ~薪水, ~护照",
    "~給与, ~給料, ~退職",
];

const SECURITY: &[&str] = &[
    "verification code, security code, security alert, security notice, security notification, security info, new sign in, sign in attempt, \
     sign in from, sign in alert, sign in code, signed in, new login, login attempt, login from, login alert, login code, logged in from, \
     new device, unrecognized device, unrecognised device, =mfa, =2fa, =otp, two factor, two step, authenticator, one time code, \
     one time password, one time passcode, app password, suspicious, unusual activity, unusual sign in, unusual login, phishing, \
     compromised, hacked, password reset, reset your password, password change, password was changed, password has been changed, \
     password was reset, password has been reset, changed your password, recovery email, recovery phone, account recovery",
    "sicherheitswarnung, sicherheitscode, sicherheitshinweis, sicherheitsmeldung, bestatigungscode, bestaetigungscode, anmeldecode, \
     verdachtig, verdaechtig, neue anmeldung, neuer login, anmeldeversuch, neues gerat, neues geraet, zwei faktor, einmalcode, \
     passwort geandert, passwort geaendert, passwort wurde geandert, passwort wurde geaendert, passwort zurucksetzen, \
     passwort zuruecksetzen, kennwort geandert, kennwort wurde geandert, kennwort zurucksetzen, passwortanderung, kennwortanderung",
    "code de verification, code de securite, alerte de securite, connexion inhabituelle, nouvelle connexion, tentative de connexion, \
     nouvel appareil, hameconnage, mot de passe modifie, mot de passe a ete, changement de mot de passe, reinitialis",
    "codigo de verificacion, codigo de seguridad, alerta de seguridad, inicio de sesion, nuevo dispositivo, contrasena cambiada, \
     cambio de contrasena, contrasena se ha, contrasena ha sido, restablecer tu contrasena, restablecer su contrasena, \
     restablecimiento de contrasena",
    "codice di verifica, codice di sicurezza, avviso di sicurezza, nuovo accesso, tentativo di accesso, nuovo dispositivo, \
     password modificata, password e stata, modifica della password, reimposta",
    "codigo de verificacao, codigo de seguranca, alerta de seguranca, novo acesso, tentativa de acesso, novo dispositivo, \
     senha alterada, senha foi, alteracao de senha, redefinicao de senha, redefinir senha, redefina",
    "verificatiecode, beveiligingscode, beveiligingswaarschuwing, nieuwe aanmelding, inlogpoging, nieuw apparaat, \
     wachtwoord gewijzigd, wachtwoord is gewijzigd, wachtwoord opnieuw",
    "kod weryfikacyjny, kod bezpieczenstwa, alert bezpieczenstwa, nowe logowanie, proba logowania, nowe urzadzenie, \
     haslo zostalo, zmiana hasla, resetowanie hasla, zresetuj",
    "overovaci kod, bezpecnostni upozorneni, nove prihlaseni, nove zarizeni, heslo bylo, zmena hesla, obnoveni hesla",
    "verifieringskod, sakerhetskod, sikkerhedskode, sikkerhetskode, vahvistuskoodi, ny inloggning, nyt login, ny palogging, \
     ny innlogging, uusi kirjautuminen, losenord har, adgangskode er, passordet er, passordet ditt er, salasana on vaihdettu",
    "ellenorzo kod, biztonsagi figyelmeztetes, uj bejelentkezes, jelszo megvaltoz, jelszavad megvaltoz",
    "dogrulama kodu, guvenlik uyarisi, yeni oturum, sifreniz degis, parolaniz degis, sifre sifirlama",
    "код подтвержден, код підтверджен, подозрительн, двухфакторн, новыи вход, новии вхід, вход в аккаунт, пароль изменен, \
     пароль был изменен, пароль змінено, смена пароля, сброс пароля",
    "κωδικοσ επαληθευσησ, νεα συνδεση, αλλαγη κωδικου",
    "~验证码, ~驗證碼, ~安全提醒, ~安全警报, ~登录提醒, ~新登录, ~密码已更改, ~密码重置, ~重置密码",
    "~認証コード, ~確認コード, ~ワンタイム, ~新しいログイン, ~ログイン通知, ~セキュリティ通知, ~パスワードが変更, ~パスワードの再設定",
];
