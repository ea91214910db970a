//! Randomness from the operating system, without a way to go on when there is none.

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;
use zeroize::Zeroizing;

/// `N` random bytes, wiped on drop.
pub(super) fn bytes<const N: usize>() -> Result<Zeroizing<[u8; N]>, Unspecified> {
    let mut drawn = Zeroizing::new([0; N]);
    rand::fill(drawn.as_mut_slice())?;
    Ok(drawn)
}
