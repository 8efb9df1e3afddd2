//! Private keys that never show themselves in logs.

use std::fmt;
use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

/// Why a text is no private key.
#[derive(Debug, thiserror::Error)]
#[error("read private key from PEM: {reason}")]
pub struct KeyError {
    reason: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Pkcs8,
    Sec1,
    Pkcs1,
}

/// A private key in DER, wiped from memory when the last clone is dropped.
#[derive(Clone)]
pub struct PrivateKey {
    der: Arc<Zeroizing<Vec<u8>>>,
    encoding: Encoding,
}

impl PrivateKey {
    /// Reads the first private key of a PEM text (PKCS#8, SEC1 or PKCS#1).
    ///
    /// # Errors
    /// [`KeyError`] if there is none or it is damaged; the text itself is never quoted.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let key = PrivateKeyDer::from_pem_slice(pem).map_err(|error| KeyError {
            reason: error.to_string(),
        })?;
        let encoding = match &key {
            PrivateKeyDer::Pkcs8(_) => Encoding::Pkcs8,
            PrivateKeyDer::Sec1(_) => Encoding::Sec1,
            PrivateKeyDer::Pkcs1(_) => Encoding::Pkcs1,
            _ => {
                return Err(KeyError {
                    reason: "unknown kind of key".to_owned(),
                });
            }
        };
        Ok(Self {
            der: Arc::new(Zeroizing::new(key.secret_der().to_vec())),
            encoding,
        })
    }

    /// Takes a key in PKCS#8 DER.
    pub fn from_pkcs8_der(der: Vec<u8>) -> Self {
        Self {
            der: Arc::new(Zeroizing::new(der)),
            encoding: Encoding::Pkcs8,
        }
    }

    /// The key as rustls takes it.
    pub fn to_der(&self) -> PrivateKeyDer<'static> {
        let bytes = self.der.to_vec();
        match self.encoding {
            Encoding::Pkcs8 => PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(bytes)),
            Encoding::Sec1 => PrivateKeyDer::Sec1(bytes.into()),
            Encoding::Pkcs1 => PrivateKeyDer::Pkcs1(bytes.into()),
        }
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(redacted)")
    }
}
