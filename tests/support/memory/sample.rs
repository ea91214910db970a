//! The sample mailboxes: a handful of messages as people send them, with attachments and several scripts.

use std::collections::BTreeSet;

use super::mailbox::Account;
use super::mailbox::Received;

/// `Büro` in modified UTF-7.
pub const OFFICE: &str = "B&APw-ro";

/// Mailboxes beside INBOX, with their special use.
const MAILBOXES: [(&str, Option<&str>); 7] = [
    ("Sent", Some("\\Sent")),
    ("Drafts", Some("\\Drafts")),
    ("Archive", Some("\\Archive")),
    ("Archive/2025", None),
    ("Trash", Some("\\Trash")),
    ("Junk", Some("\\Junk")),
    (OFFICE, None),
];

/// Mailbox, flags, INTERNALDATE, message.
const MESSAGES: [(&str, &[&str], &str, &str); 12] = [
    ("INBOX", &["\\Seen"], "23-Feb-2026 08:30:12 +0100", WELCOME),
    (
        "INBOX",
        &["\\Seen", "\\Answered"],
        "24-Feb-2026 18:02:40 +0100",
        POSTCARD,
    ),
    ("INBOX", &["\\Flagged"], "26-Feb-2026 07:00:00 +0000", NEWSLETTER),
    ("INBOX", &[], "27-Feb-2026 16:45:09 +0100", FIGURES),
    ("INBOX", &[], "01-Mar-2026 10:15:33 +0900", MINUTES),
    ("INBOX", &[], "02-Mar-2026 09:14:55 +0100", FORWARDED),
    ("Sent", &["\\Seen"], "24-Feb-2026 19:20:01 +0100", REPLY),
    (
        "Drafts",
        &["\\Seen", "\\Draft"],
        "02-Mar-2026 09:40:00 +0100",
        DRAFT,
    ),
    ("Archive", &["\\Seen"], "12-Jan-2026 11:00:00 +0100", RECIPE),
    (
        "Archive/2025",
        &["\\Seen"],
        "19-Dec-2025 17:30:00 +0100",
        HOLIDAYS,
    ),
    ("Junk", &["$Junk"], "28-Feb-2026 03:12:00 +0000", PRIZE),
    (OFFICE, &["\\Seen"], "20-Feb-2026 14:00:00 +0100", KEYS),
];

/// Puts the sample mailboxes into a new account.
pub(super) fn fill(account: &mut Account) {
    for (name, special_use) in MAILBOXES {
        account.create(name, special_use);
    }
    account.subscribed = account.mailboxes.keys().cloned().collect();
    for (mailbox, flags, received, text) in MESSAGES {
        let flags: BTreeSet<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let raw = text.replace('\n', "\r\n").into_bytes();
        if let Some(mailbox) = account.mailboxes.get_mut(mailbox) {
            mailbox.append(raw.into(), flags, Received(received.to_owned()));
        }
    }
}

const WELCOME: &str = "\
Date: Mon, 23 Feb 2026 08:30:10 +0100
From: Mara Lindqvist <mara@example.org>
To: Alice Example <alice@example.org>
Subject: Welcome aboard
Message-ID: <welcome.1@example.org>
MIME-Version: 1.0
Content-Type: text/plain; charset=us-ascii

Dear Alice,

good to have you with us. Your desk is the one by the window, the coffee
is on the second floor, and the door code changes every Monday.

See you at nine,
Mara
";

const POSTCARD: &str = "\
Date: Tue, 24 Feb 2026 18:02:33 +0100
From: =?utf-8?Q?J=C3=BCrg_M=C3=BCller?= <juerg@example.net>
To: alice@example.org
Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe_aus_Z=C3=BCrich_=E2=98=80?=
Message-ID: <postcard.7@example.net>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=\"=_postcard\"

--=_postcard
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

Liebe Alice,

sch=C3=B6ne Gr=C3=BC=C3=9Fe vom See. Das Bild ist sehr klein, die Berge sind es nicht.

J=C3=BCrg
--=_postcard
Content-Type: image/png; name=\"see.png\"
Content-Disposition: attachment; filename=\"see.png\"
Content-Transfer-Encoding: base64

iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGA
WjR9awAAAABJRU5ErkJggg==
--=_postcard--
";

const NEWSLETTER: &str = "\
Date: Thu, 26 Feb 2026 07:00:00 +0000
From: The Lighthouse Weekly <editor@lighthouse.example>
To: alice@example.org
Subject: No. 12: Fog, foghorns, and who pays for them
Message-ID: <issue-12@lighthouse.example>
List-Id: <weekly.lighthouse.example>
List-Unsubscribe: <mailto:leave@lighthouse.example>
MIME-Version: 1.0
Content-Type: multipart/alternative; boundary=\"alt-12\"

--alt-12
Content-Type: text/plain; charset=us-ascii

FOG, FOGHORNS, AND WHO PAYS FOR THEM

The keepers of the north shore have sent their bill.
--alt-12
Content-Type: text/html; charset=us-ascii

<html><body><h1>Fog, foghorns, and who pays for them</h1>
<p>The keepers of the <em>north shore</em> have sent their bill.</p></body></html>
--alt-12--
";

const FIGURES: &str = "\
Date: Fri, 27 Feb 2026 16:45:00 +0100
From: Tomas Novak <tomas@example.org>
To: Alice Example <alice@example.org>
Cc: Mara Lindqvist <mara@example.org>
Subject: Figures for February
Message-ID: <figures.2@example.org>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=\"figures\"

--figures
Content-Type: text/plain; charset=us-ascii

The figures are attached. Row three is an estimate.
--figures
Content-Type: text/csv; charset=us-ascii; name=\"february.csv\"
Content-Disposition: attachment; filename=\"february.csv\"

week,visitors,coffee
1,120,88
2,131,97
3,125,90
4,140,112
--figures--
";

const MINUTES: &str = "\
Date: Sun, 1 Mar 2026 10:15:30 +0900
From: =?utf-8?B?5L2Q6Jek6Iqx5a2Q?= <hanako@example.jp>
To: alice@example.org
Subject: =?utf-8?B?5Lya6K2w44Gu6K2w5LqL6Yyy?=
Message-ID: <minutes.31@example.jp>
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: base64

QWxpY2XjgZXjgpMKCuitsOS6i+mMsuOCkuOBiumAgeOCiuOBl+OBvuOBmeOAguasoeWbnuOBr+ac
iOabnOaXpeOBp+OBmeOAggoK5L2Q6JekCg==
";

const FORWARDED: &str = "\
Date: Mon, 2 Mar 2026 09:14:50 +0100
From: Mara Lindqvist <mara@example.org>
To: Alice Example <alice@example.org>
Subject: Fwd: Your tickets
Message-ID: <fwd.88@example.org>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=\"fwd\"

--fwd
Content-Type: text/plain; charset=us-ascii

For Thursday. Window seats, as you like them.
--fwd
Content-Type: message/rfc822
Content-Disposition: attachment; filename=\"tickets.eml\"

Date: Sun, 1 Mar 2026 20:00:00 +0100
From: Northern Railways <tickets@railway.example>
To: mara@example.org
Subject: Your tickets
Message-ID: <t-5521@railway.example>

Two seats, coach 5, 61 and 62. Departure 08:12.
--fwd--
";

const REPLY: &str = "\
Date: Tue, 24 Feb 2026 19:20:00 +0100
From: Alice Example <alice@example.org>
To: =?utf-8?Q?J=C3=BCrg_M=C3=BCller?= <juerg@example.net>
Subject: =?utf-8?Q?Re=3A_Gr=C3=BC=C3=9Fe_aus_Z=C3=BCrich_=E2=98=80?=
Message-ID: <re.postcard@example.org>
In-Reply-To: <postcard.7@example.net>
References: <postcard.7@example.net>
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

Danke! Bring Schokolade mit.

> sch=C3=B6ne Gr=C3=BC=C3=9Fe vom See.
";

const DRAFT: &str = "\
Date: Mon, 2 Mar 2026 09:40:00 +0100
From: Alice Example <alice@example.org>
To: tomas@example.org
Subject: Row three
Message-ID: <draft.1@example.org>
MIME-Version: 1.0
Content-Type: text/plain; charset=us-ascii

Tomas, about row three:
";

const RECIPE: &str = "\
Date: Mon, 12 Jan 2026 11:00:00 +0100
From: Grandmother <oma@example.net>
To: alice@example.org
Subject: The recipe you asked for
Message-ID: <recipe.3@example.net>
MIME-Version: 1.0
Content-Type: text/plain; charset=us-ascii

Four eggs, a pound of flour, milk until it looks right.
Do not let anybody tell you to use a machine.
";

const HOLIDAYS: &str = "\
Date: Fri, 19 Dec 2025 17:30:00 +0100
From: Mara Lindqvist <mara@example.org>
To: all@example.org
Subject: Closed until the seventh
Message-ID: <holidays.2025@example.org>
MIME-Version: 1.0
Content-Type: text/plain; charset=us-ascii

The last one out turns off the lights. Happy holidays!
";

const PRIZE: &str = "\
Date: Sat, 28 Feb 2026 03:12:00 +0000
From: \"Prize Office\" <winner@prizes.invalid>
To: undisclosed-recipients:;
Subject: YOU HAVE WON a very large lighthouse
Message-ID: <1@prizes.invalid>
Content-Type: text/plain; charset=us-ascii

Send us only the postage.
";

const KEYS: &str = "\
Date: Fri, 20 Feb 2026 14:00:00 +0100
From: =?utf-8?Q?B=C3=BCro?= <office@example.org>
To: alice@example.org
Subject: =?utf-8?Q?Schl=C3=BCssel_f=C3=BCr_das_B=C3=BCro?=
Message-ID: <keys.4@example.org>
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

Der Schlüssel liegt beim Empfang.
";
