//! The sealed form of one version's value.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 1 | format, `1` |
//! | 1 | 1 | algorithm, `1`: HKDF-SHA-256 and AES-256-GCM |
//! | 2 | 16 | id of the tenant key |
//! | 18 | 32 | salt: the wrapping key is HKDF(tenant subkey, salt) |
//! | 50 | 12 | nonce of the wrapped data key |
//! | 62 | 32 | data key, encrypted under the wrapping key |
//! | 94 | 16 | its tag |
//! | 110 | 12 | nonce of the value |
//! | 122 | *c* | padded value, encrypted under the data key |
//! | 122+*c* | 16 | its tag |
//!
//! Salt, data key and nonces are random for each seal, so each GCM key sees one message and no
//! nonce can repeat under it. Both encryptions authenticate, length-prefixed: purpose (value or
//! data key), format, algorithm, tenant, path, version, kind, key id. Bytes moved to another place or
//! version do not open.
//!
//! The padded value and its sizes are [`padding`]'s.
//!
//! **Opening** refuses everything else with [`Error::Damaged`], which never says what was wrong.
//! What it can't see is an old version's row put back whole; the audit log shows that.

pub mod padding;

use aws_lc_rs::aead::{Aad, NONCE_LEN, Nonce};
use pentad_model::{Kind, Path, Sealed, Secret, Tenant, id::Entropy};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{
    Error,
    associated::Associated,
    derive::{KEY_LEN, aes_256_gcm, one_message_key},
    envelope::padding::size_class,
    tenant::TenantKeys,
};

/// Longest value that can be sealed, in bytes.
pub const MAX_VALUE: usize = 1024 * 1024;

const FORMAT: u8 = 1;
const ALGORITHM: u8 = 1;
const TAG_LEN: usize = 16;
const SALT_LEN: usize = 32;

const KEY_ID_AT: usize = 2;
const SALT_AT: usize = 18;
const KEY_NONCE_AT: usize = 50;
const DATA_KEY_AT: usize = 62;
const VALUE_NONCE_AT: usize = 110;
const VALUE_AT: usize = 122;

const WRAPPING_LABEL: &str = "pentad/1/wrap/data-key";

/// What sealed bytes say they are sealed by; `None` for a form that is not known. Believe it once
/// they were opened: it is authenticated then.
pub fn algorithm(sealed: &Sealed) -> Option<&'static str> {
    match sealed.as_bytes() {
        [FORMAT, ALGORITHM, ..] => Some("AES-256-GCM"),
        _ => None,
    }
}

/// What a sealed value belongs to. All of it is authenticated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Binding<'a> {
    /// Whose.
    pub tenant: &'a Tenant,
    /// Which credential's.
    pub path: &'a Path,
    /// Which version of it.
    pub version: u32,
    /// What sort of value.
    pub kind: Kind,
}

impl Binding<'_> {
    fn associated(&self, purpose: &str, keys: &TenantKeys) -> Associated {
        Associated::with(purpose)
            .and(&[FORMAT])
            .and(&[ALGORITHM])
            .and(self.tenant.as_str().as_bytes())
            .and(self.path.as_str().as_bytes())
            .and(&self.version.to_be_bytes())
            .and(self.kind.profile().name.as_bytes())
            .and(&keys.id.0)
    }

    fn of_data_key(&self, keys: &TenantKeys) -> Aad<Associated> {
        Aad::from(self.associated("pentad/data-key", keys))
    }

    fn of_value(&self, keys: &TenantKeys) -> Aad<Associated> {
        Aad::from(self.associated("pentad/value", keys))
    }
}

/// Seals `value` for `binding`.
pub(crate) fn seal(
    keys: &TenantKeys,
    binding: &Binding<'_>,
    value: &Secret,
    entropy: &dyn Entropy,
) -> Result<Sealed, Error> {
    if value.len() > MAX_VALUE {
        return Err(Error::TooLarge { max: MAX_VALUE });
    }
    let random = Randomness::draw(entropy);

    let class = size_class(value.len());
    // Holds plaintext until the value is encrypted in place.
    let mut out = Zeroizing::new(Vec::with_capacity(VALUE_AT + class + TAG_LEN));
    out.extend_from_slice(&[FORMAT, ALGORITHM]);
    out.extend_from_slice(&keys.id.0);
    out.extend_from_slice(&random.salt);
    out.extend_from_slice(&random.key_nonce);
    out.extend_from_slice(&random.data_key);
    let tag = one_message_key(&keys.version_wrapping, &random.salt, WRAPPING_LABEL)?
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(random.key_nonce),
            binding.of_data_key(keys),
            &mut out[DATA_KEY_AT..],
        )?;
    out.extend_from_slice(tag.as_ref());
    out.extend_from_slice(&random.value_nonce);

    padding::append(value.expose(), &mut out)?;
    let tag = aes_256_gcm(&random.data_key)?.seal_in_place_separate_tag(
        Nonce::assume_unique_for_key(random.value_nonce),
        binding.of_value(keys),
        &mut out[VALUE_AT..],
    )?;
    out.extend_from_slice(tag.as_ref());
    Ok(Sealed::from_bytes(std::mem::take(&mut *out)))
}

/// Opens what was sealed for `binding`.
pub(crate) fn open(
    keys: &TenantKeys,
    binding: &Binding<'_>,
    sealed: &Sealed,
) -> Result<Secret, Error> {
    open_inner(keys, binding, sealed.as_bytes()).ok_or(Error::Damaged)
}

/// `None` for whatever is wrong, so that no reason can leak.
fn open_inner(keys: &TenantKeys, binding: &Binding<'_>, bytes: &[u8]) -> Option<Secret> {
    // An upper bound before any allocation: ours are never longer.
    if bytes.len() > VALUE_AT + size_class(MAX_VALUE) + TAG_LEN {
        return None;
    }
    let (header, value) = bytes.split_first_chunk::<VALUE_AT>()?;
    if header[..KEY_ID_AT] != [FORMAT, ALGORITHM] || header[KEY_ID_AT..SALT_AT] != keys.id.0 {
        return None;
    }
    let salt: &[u8; SALT_LEN] = header[SALT_AT..KEY_NONCE_AT].try_into().ok()?;
    let key_nonce: [u8; NONCE_LEN] = header[KEY_NONCE_AT..DATA_KEY_AT].try_into().ok()?;
    let value_nonce: [u8; NONCE_LEN] = header[VALUE_NONCE_AT..VALUE_AT].try_into().ok()?;

    let mut wrapped = Zeroizing::new([0; KEY_LEN + TAG_LEN]);
    wrapped.copy_from_slice(&header[DATA_KEY_AT..VALUE_NONCE_AT]);
    let data_key = one_message_key(&keys.version_wrapping, salt, WRAPPING_LABEL)
        .ok()?
        .open_in_place(
            Nonce::assume_unique_for_key(key_nonce),
            binding.of_data_key(keys),
            wrapped.as_mut(),
        )
        .ok()?;
    let data_key: &[u8; KEY_LEN] = (&*data_key).try_into().ok()?;

    let mut padded = Zeroizing::new(value.to_vec());
    let class = aes_256_gcm(data_key)
        .ok()?
        .open_in_place(
            Nonce::assume_unique_for_key(value_nonce),
            binding.of_value(keys),
            padded.as_mut_slice(),
        )
        .ok()?
        .len();
    let length = padding::unpadded_length(padded.get(..class)?)?;
    padded.truncate(length);
    // The vector moves whole, spare capacity included, and `Secret` zeroises that too.
    Some(Secret::new(std::mem::take(&mut *padded)))
}

/// The random parts of one sealed value.
#[derive(Zeroize, ZeroizeOnDrop)]
struct Randomness {
    salt: [u8; SALT_LEN],
    key_nonce: [u8; NONCE_LEN],
    value_nonce: [u8; NONCE_LEN],
    data_key: [u8; KEY_LEN],
}

impl Randomness {
    /// Draws all of it in one call to the operating system, which costs more than the encryption.
    fn draw(entropy: &dyn Entropy) -> Self {
        let mut all = Zeroizing::new([0; SALT_LEN + 2 * NONCE_LEN + KEY_LEN]);
        entropy.fill(all.as_mut());
        let mut drawn = Self {
            salt: [0; SALT_LEN],
            key_nonce: [0; NONCE_LEN],
            value_nonce: [0; NONCE_LEN],
            data_key: [0; KEY_LEN],
        };
        let (salt, rest) = all.split_at(SALT_LEN);
        let (key_nonce, rest) = rest.split_at(NONCE_LEN);
        let (value_nonce, data_key) = rest.split_at(NONCE_LEN);
        drawn.salt.copy_from_slice(salt);
        drawn.key_nonce.copy_from_slice(key_nonce);
        drawn.value_nonce.copy_from_slice(value_nonce);
        drawn.data_key.copy_from_slice(data_key);
        drawn
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::{Keyring, testing};

    struct Fixture {
        keyring: Keyring,
        tenants: [Tenant; 2],
        paths: [Path; 2],
    }

    impl Fixture {
        fn new() -> Self {
            Self {
                keyring: testing::keyring(1, &["acme", "evil"]),
                tenants: ["acme", "evil"].map(testing::tenant),
                paths: ["prod/db", "prod/db2"].map(|path| path.parse().unwrap()),
            }
        }

        fn binding(&self) -> Binding<'_> {
            Binding {
                tenant: &self.tenants[0],
                path: &self.paths[0],
                version: 1,
                kind: Kind::Password,
            }
        }

        fn seal(&self, value: &[u8]) -> Sealed {
            self.keyring
                .seal(&self.binding(), &Secret::new(value))
                .unwrap()
        }
    }

    #[test]
    fn a_sealed_value_opens_only_where_it_belongs() {
        let fixture = Fixture::new();
        let here = fixture.binding();
        let sealed = fixture.seal(b"hunter2");
        assert_eq!(
            fixture.keyring.open(&here, &sealed).unwrap(),
            Secret::new("hunter2")
        );
        for elsewhere in [
            Binding {
                tenant: &fixture.tenants[1],
                ..here
            },
            Binding {
                path: &fixture.paths[1],
                ..here
            },
            Binding { version: 2, ..here },
            Binding {
                kind: Kind::Token,
                ..here
            },
        ] {
            assert_eq!(
                fixture.keyring.open(&elsewhere, &sealed),
                Err(Error::Damaged)
            );
        }
    }

    #[test]
    fn the_tenant_is_bound_by_itself_not_only_by_its_key() {
        let fixture = Fixture::new();
        let entropy = testing::SeededEntropy::new(3);
        let wrapping = crate::derive::Key::random(&entropy);
        let stored = crate::tenant::create(&wrapping, &fixture.tenants[0], &entropy).unwrap();
        let keys = crate::tenant::unwrap(&wrapping, &stored).unwrap();
        let here = fixture.binding();
        let sealed = seal(&keys, &here, &Secret::new("x"), &entropy).unwrap();
        let there = Binding {
            tenant: &fixture.tenants[1],
            ..here
        };
        assert!(open(&keys, &here, &sealed).is_ok());
        assert_eq!(open(&keys, &there, &sealed), Err(Error::Damaged));
    }

    #[test]
    fn each_of_the_two_encryptions_binds_the_place_by_itself() {
        let fixture = Fixture::new();
        let entropy = testing::SeededEntropy::new(3);
        let wrapping = crate::derive::Key::random(&entropy);
        let stored = crate::tenant::create(&wrapping, &fixture.tenants[0], &entropy).unwrap();
        let keys = crate::tenant::unwrap(&wrapping, &stored).unwrap();
        let here = fixture.binding();
        let there = Binding { version: 2, ..here };
        let bound = [
            here.of_data_key(&keys),
            here.of_value(&keys),
            there.of_data_key(&keys),
        ];
        let bound = bound.map(|aad| aad.as_ref().to_vec());
        assert!(bound[0] != bound[1] && bound[0] != bound[2]);

        // A value whose data key was wrapped for another place, by somebody who holds the keys.
        let sealed = seal(&keys, &here, &Secret::new("x"), &entropy).unwrap();
        let mut bytes = sealed.as_bytes().to_vec();
        let header = bytes.clone();
        let salt: &[u8; SALT_LEN] = header[SALT_AT..KEY_NONCE_AT].try_into().unwrap();
        let nonce = header[KEY_NONCE_AT..DATA_KEY_AT].try_into().unwrap();
        let nonce = || Nonce::assume_unique_for_key(nonce);
        let key = one_message_key(&keys.version_wrapping, salt, WRAPPING_LABEL).unwrap();
        let wrapped = &mut bytes[DATA_KEY_AT..VALUE_NONCE_AT];
        let plain = key
            .open_in_place(nonce(), here.of_data_key(&keys), wrapped)
            .unwrap();
        let tag = key
            .seal_in_place_separate_tag(nonce(), there.of_data_key(&keys), plain)
            .unwrap();
        bytes[DATA_KEY_AT + KEY_LEN..VALUE_NONCE_AT].copy_from_slice(tag.as_ref());
        let opened = open(&keys, &there, &Sealed::from_bytes(bytes));
        assert_eq!(opened, Err(Error::Damaged));
    }

    #[test]
    fn a_value_and_a_data_key_of_two_seals_do_not_combine() {
        let fixture = Fixture::new();
        let (one, two) = (fixture.seal(b"one"), fixture.seal(b"two"));
        let mixed = [
            &one.as_bytes()[..VALUE_NONCE_AT],
            &two.as_bytes()[VALUE_NONCE_AT..],
        ]
        .concat();
        let opened = fixture
            .keyring
            .open(&fixture.binding(), &Sealed::from_bytes(mixed));
        assert_eq!(opened, Err(Error::Damaged));
    }

    #[test]
    fn sealing_twice_shares_no_random_part() {
        let fixture = Fixture::new();
        let (one, two) = (fixture.seal(b"same"), fixture.seal(b"same"));
        for part in [
            SALT_AT..KEY_NONCE_AT,
            KEY_NONCE_AT..DATA_KEY_AT,
            VALUE_NONCE_AT..VALUE_AT,
        ] {
            assert_ne!(one.as_bytes()[part.clone()], two.as_bytes()[part]);
        }
        assert_ne!(one.as_bytes()[VALUE_AT..], two.as_bytes()[VALUE_AT..]);
    }

    #[test]
    fn the_layout_is_as_documented() {
        let fixture = Fixture::new();
        let sealed = fixture.seal(b"x");
        assert_eq!(sealed.as_bytes()[..2], [1, 1]);
        assert_eq!(sealed.as_bytes().len(), 122 + 64 + 16);
    }

    #[test]
    fn the_longest_value_round_trips_and_one_more_byte_is_refused() {
        let fixture = Fixture::new();
        let longest = Secret::new(vec![7; MAX_VALUE]);
        let sealed = fixture.keyring.seal(&fixture.binding(), &longest).unwrap();
        assert_eq!(
            fixture.keyring.open(&fixture.binding(), &sealed).unwrap(),
            longest
        );
        let more = Secret::new(vec![7; MAX_VALUE + 1]);
        let refused = fixture.keyring.seal(&fixture.binding(), &more);
        assert_eq!(refused, Err(Error::TooLarge { max: MAX_VALUE }));
    }

    proptest! {
        #[test]
        fn every_value_round_trips(value in prop::collection::vec(any::<u8>(), 0..3000)) {
            let fixture = Fixture::new();
            let sealed = fixture.seal(&value);
            let opened = fixture.keyring.open(&fixture.binding(), &sealed).unwrap();
            prop_assert_eq!(opened.expose(), value.as_slice());
        }

        #[test]
        fn lengths_within_a_class_are_indistinguishable(a in 0usize..5000, b in 0usize..5000) {
            let fixture = Fixture::new();
            let length = |n| fixture.seal(&vec![b'x'; n]).as_bytes().len();
            prop_assert_eq!(size_class(a) == size_class(b), length(a) == length(b));
        }

        #[test]
        fn any_flipped_bit_is_damage(
            value in "[a-z]{0,100}",
            position: prop::sample::Index,
            bit in 0u8..8,
        ) {
            let fixture = Fixture::new();
            let mut bytes = fixture.seal(value.as_bytes()).as_bytes().to_vec();
            let at = position.index(bytes.len());
            bytes[at] ^= 1u8 << bit;
            let opened = fixture.keyring.open(&fixture.binding(), &Sealed::from_bytes(bytes));
            prop_assert_eq!(opened, Err(Error::Damaged));
        }

        #[test]
        fn any_cut_or_extension_is_damage(position: prop::sample::Index, tail in "[a-z]{1,20}") {
            let fixture = Fixture::new();
            let whole = fixture.seal(b"value").as_bytes().to_vec();
            let cut = whole[..position.index(whole.len())].to_vec();
            let longer = [&whole, tail.as_bytes()].concat();
            for bytes in [cut, longer] {
                let opened = fixture.keyring.open(&fixture.binding(), &Sealed::from_bytes(bytes));
                prop_assert_eq!(opened, Err(Error::Damaged));
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic_and_never_open(
            tail in prop::collection::vec(any::<u8>(), 0..400),
            ours in 0..VALUE_AT,
        ) {
            let fixture = Fixture::new();
            // A prefix of a real one, so that the checks behind the header are reached too.
            let mut bytes = fixture.seal(b"value").as_bytes()[..ours].to_vec();
            bytes.extend(tail);
            let opened = fixture.keyring.open(&fixture.binding(), &Sealed::from_bytes(bytes));
            prop_assert_eq!(opened, Err(Error::Damaged));
        }
    }
}
