//! A credential's place among others: where in a time that all of them have its own turn is.

use std::time::Duration;

use pentad_model::{Path, Tenant, Timestamp};

/// A part of the whole, from 0 up to but not including 1, in units of 2^-64. The same for a path for
/// ever, and evenly distributed over paths.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Share(pub u64);

impl Share {
    /// That of a credential. FNV-1a (RFC 9923) over tenant and path; what it leaves uneven in the upper
    /// bits is mixed by the finalizer of MurmurHash3 (Appleby, 2011). It hides nothing: who knows the path
    /// knows the share.
    pub fn of_credential(tenant: &Tenant, path: &Path) -> Self {
        let bytes = tenant.as_str().bytes().chain([0]);
        let bytes = bytes.chain(path.as_str().bytes());
        let mut hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        for factor in [0xff51_afd7_ed55_8ccd_u64, 0xc4ce_b9fe_1a85_ec53] {
            hash = (hash ^ (hash >> 33)).wrapping_mul(factor);
        }
        Self(hash ^ (hash >> 33))
    }

    /// This part of a time, to the millisecond; less than all of it.
    pub fn of(self, time: Duration) -> Duration {
        let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let part = (u128::from(self.0) * u128::from(time)) >> 64;
        Duration::from_millis(u64::try_from(part).unwrap_or(u64::MAX))
    }

    /// A place between two moments, which says nothing of the place in any other time: what was asked for
    /// on one day has shares that are close together.
    pub(super) fn within(self, from: Timestamp, until: Timestamp) -> Timestamp {
        from.plus(Self(self.0.rotate_left(32)).of(until.since(from)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn shares_are_even_whatever_the_paths_have_in_common() {
        let tenant = Tenant::default_tenant();
        let mut counts = [0_u32; 20];
        for n in 0..20_000 {
            let path = format!("prod/db/role-{n}").parse().unwrap();
            let share = Share::of_credential(&tenant, &path);
            counts[(usize::try_from(share.0 >> 32).unwrap() * 20) >> 32] += 1;
        }
        // Binomial, 1,000 on average with a deviation of 31: five of them.
        assert!(counts.iter().all(|n| (845..1155).contains(n)), "{counts:?}");
    }

    #[test]
    fn a_share_stays_what_it_is() {
        let path = "prod/db".parse().unwrap();
        let share = Share::of_credential(&Tenant::default_tenant(), &path);
        assert_eq!(
            share,
            Share::of_credential(&Tenant::default_tenant(), &path)
        );
        let all = Duration::from_millis(1000);
        assert!(share.of(all) < all);
        assert_eq!(Share(u64::MAX).of(all), Duration::from_millis(999));
        assert_eq!(Share(0).of(Duration::MAX), Duration::ZERO);
    }
}
