//! What is served by TLS at this moment: a chain with its key, which every new connection gets.

use std::sync::{Arc, PoisonError, RwLock};

use data_encoding::HEXLOWER;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use schema::v1alpha1::CertificateSource;
use sha2::{Digest as _, Sha256};

use crate::error::TlsError;

/// A chain and its key.
#[derive(Debug)]
pub(crate) struct Identity {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
    /// Where it is from.
    pub source: CertificateSource,
    /// Why it is not the one it should be, for people.
    pub complaint: Option<String>,
    /// What is wrong with the files of the self-made one: the file, and what became of it, for people.
    pub findings: Vec<(&'static str, String)>,
}

impl Identity {
    /// The self-made one, of which nothing is wrong.
    pub(crate) fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Self {
        let source = CertificateSource::SelfMade;
        Self { chain, key, source, complaint: None, findings: Vec::new() }
    }

    /// SHA-256 of the certificate, as clients pin it: `sha256:` and 64 hexadecimal digits.
    pub(crate) fn fingerprint(&self) -> String {
        let digest = Sha256::digest(self.chain.first().map(AsRef::as_ref).unwrap_or_default());
        format!("sha256:{}", HEXLOWER.encode(&digest))
    }
}

/// What is served.
#[derive(Debug)]
pub(crate) struct Served(RwLock<Current>);

/// As rustls takes it, and what is known of it.
#[derive(Clone, Debug)]
pub(crate) struct Current {
    pub key: Arc<CertifiedKey>,
    pub identity: Arc<Identity>,
}

impl Current {
    /// # Errors
    /// For a key that is not the certificate's.
    pub(crate) fn of(identity: Identity) -> Result<Self, TlsError> {
        let key = Self::key(&identity)?;
        Ok(Self { key: Arc::new(key), identity: Arc::new(identity) })
    }

    /// Key and chain as rustls takes them.
    ///
    /// # Errors
    /// For a key that is not the certificate's.
    pub(crate) fn key(identity: &Identity) -> Result<CertifiedKey, rustls::Error> {
        let provider = rustls::crypto::ring::default_provider();
        CertifiedKey::from_der(identity.chain.clone(), identity.key.clone_key(), &provider)
    }
}

impl Served {
    /// Serves this.
    ///
    /// # Errors
    /// For a key that is not of the certificate.
    pub(crate) fn new(identity: Identity) -> Result<Arc<Self>, TlsError> {
        Ok(Arc::new(Self(RwLock::new(Current::of(identity)?))))
    }

    /// Key and what is known of it.
    pub(crate) fn current(&self) -> Current {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What it is at this moment.
    pub(crate) fn identity(&self) -> Arc<Identity> {
        self.current().identity
    }

    /// Serves this from now on.
    pub(crate) fn replace(&self, current: Current) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = current;
    }
}

impl ResolvesServerCert for Served {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current().key)
    }
}
