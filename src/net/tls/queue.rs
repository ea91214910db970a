//! Bytes between two who take their time.

/// Bytes that leave at the front; it has no memory while it is empty.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) bytes: Vec<u8>,
    gone: usize,
}

impl Queue {
    /// A queue of these bytes.
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.to_vec(),
            gone: 0,
        }
    }

    pub(super) fn rest(&self) -> &[u8] {
        self.bytes.get(self.gone..).unwrap_or_default()
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.gone
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn advance(&mut self, count: usize) {
        self.gone = self.gone.saturating_add(count).min(self.bytes.len());
        if self.is_empty() {
            *self = Self::default();
        }
    }
}
