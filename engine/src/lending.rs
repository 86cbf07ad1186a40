//! Files that are lent: a provider that takes no files fetches them itself, by a link that is signed,
//! for one file, and not for long.

use std::time::Duration;

use subtle::ConstantTimeEq;

use crate::channel::signature::sign;
use crate::id::{MediaId, TenantId};
use crate::time::Timestamp;

/// Makes links, and knows its own.
#[derive(Clone)]
pub struct Lender {
    /// How the server is reached, without a slash at its end.
    pub base: String,
    /// Signs them.
    pub key: [u8; 32],
    /// For how long they count.
    pub lasts: Duration,
}

/// Where the server answers them.
pub const PATH: &str = "/lent/";

impl Lender {
    /// A link to a tenant's file, as of now.
    pub fn link(&self, tenant: TenantId, file: MediaId, now: Timestamp) -> String {
        let until = now + self.lasts;
        let proof = hex::encode(self.proof(tenant, file, until));
        let (base, org, until) = (&self.base, tenant.0, until.0);
        format!("{base}{PATH}{}?org={org}&until={until}&proof={proof}", file.0)
    }

    /// Whether a link with this proof, which counts until then, is one of ours and still counts.
    pub fn is_ours(
        &self,
        (tenant, file): (TenantId, MediaId),
        until: Timestamp,
        proof: &str,
        now: Timestamp,
    ) -> bool {
        let mut claimed = [0; 32];
        let is_proof = hex::decode_to_slice(proof, &mut claimed).is_ok();
        let fits: bool = self.proof(tenant, file, until).ct_eq(&claimed).into();
        is_proof && fits && now < until
    }

    fn proof(&self, tenant: TenantId, file: MediaId, until: Timestamp) -> [u8; 32] {
        let of = [&tenant.0.as_bytes()[..], file.0.as_bytes(), &until.0.to_be_bytes()];
        sign(self.key, &of.concat())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::Lender;
    use crate::id::{MediaId, TenantId};
    use crate::time::Timestamp;

    #[test]
    fn a_link_is_for_one_file_and_not_for_long() {
        let (base, lasts) = ("https://desk.example.com".to_owned(), Duration::from_secs(60));
        let lender = Lender { base, key: [7; 32], lasts };
        let (tenant, file) = (TenantId(Uuid::from_u128(1)), MediaId(Uuid::from_u128(2)));
        let (now, until) = (Timestamp(1_000_000), Timestamp(1_060_000));
        let link = lender.link(tenant, file, now);
        assert!(link.starts_with("https://desk.example.com/lent/"), "{link}");
        let (_, proof) = link.split_once("&proof=").unwrap();
        assert!(lender.is_ours((tenant, file), until, proof, now));
        assert!(!lender.is_ours((tenant, file), until, proof, until), "it is over");
        let other = (tenant, MediaId(Uuid::from_u128(3)));
        assert!(!lender.is_ours(other, until, proof, now));
        assert!(!lender.is_ours((TenantId(Uuid::nil()), file), until, proof, now));
        assert!(!lender.is_ours((tenant, file), Timestamp(9_000_000), proof, now));
        for none in ["", "00", &proof[2..], &proof.replace(['a', 'b', 'c', '1'], "0")] {
            assert!(!lender.is_ours((tenant, file), until, none, now), "{none}");
        }
        let another = Lender { key: [8; 32], ..lender };
        assert!(!another.is_ours((tenant, file), until, proof, now));
    }
}
