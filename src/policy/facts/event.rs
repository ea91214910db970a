//! The moments at which rules are judged.

macro_rules! events {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $bit:literal;)*) => {
        /// A moment at which rules are judged.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Event { $($(#[$doc])* $name,)* }

        impl Event {
            /// All of them, in the order in which a session goes through them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The word in rule files.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            const fn bit(self) -> u8 {
                match self { $(Self::$name => $bit,)* }
            }
        }
    };
}

events! {
    /// A client has connected, and the TLS hand-shake is over where it comes first.
    Connect = "connect", 1;
    /// A login has been decided: it succeeds unless a rule objects, or it has failed.
    Login = "login", 2;
    /// A command is held, waiting for the verdict.
    Command = "command", 4;
    /// The backend has sent data of messages: judged at the end of a response and every so many bytes.
    Fetched = "fetched", 8;
    /// The backend has accepted a message from the client.
    Appended = "appended", 16;
    /// The session is over.
    SessionEnd = "session_end", 32;
}

impl Event {
    /// Finds an event by its word.
    #[must_use]
    pub fn find(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|event| event.as_str() == word)
    }
}

/// Some of the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Events(u8);

impl Events {
    /// Every event.
    pub const ALL: Self = Self(63);
    /// From the login on.
    pub const FROM_LOGIN: Self = Self(62);
    /// After a successful login.
    pub const IN_SESSION: Self = Self(60);

    /// One event.
    #[must_use]
    pub const fn only(event: Event) -> Self {
        Self(event.bit())
    }

    /// True where the event is among them.
    #[must_use]
    pub const fn contains(self, event: Event) -> bool {
        self.0 & event.bit() != 0
    }

    /// The events in their order.
    pub fn iter(self) -> impl Iterator<Item = Event> {
        Event::ALL
            .iter()
            .copied()
            .filter(move |event| self.contains(*event))
    }
}
