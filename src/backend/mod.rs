//! Room for `backend`.
