//! How a client makes sure of the server, and who it says that it is.

use std::fmt;

use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use crate::error::Error;

/// TLS: whom to believe, and this client's own certificate where the server asks for one.
///
/// ```no_run
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use leyden_client::Tls;
///
/// let tls = Tls::new()
///     .ca_certificate(std::fs::read("ca.pem")?)
///     .identity(std::fs::read("client.pem")?, std::fs::read("client.key")?);
/// # Ok(()) }
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct Tls {
    ca_certificate: Option<Vec<u8>>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
    domain_name: Option<String>,
}

impl Tls {
    /// Believes the authorities that the operating system believes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Believes the authorities of this PEM alone.
    pub fn ca_certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca_certificate = Some(pem.into());
        self
    }

    /// Shows this certificate, and those up to one that the server believes, with its private key;
    /// both are PEM.
    pub fn identity(
        mut self,
        certificate_chain: impl Into<Vec<u8>>,
        private_key: impl Into<Vec<u8>>,
    ) -> Self {
        self.identity = Some((certificate_chain.into(), private_key.into()));
        self
    }

    /// The name that the server's certificate must have. Without it: the host of the target.
    pub fn domain_name(mut self, domain_name: impl Into<String>) -> Self {
        self.domain_name = Some(domain_name.into());
        self
    }

    pub(crate) fn config(self) -> Result<ClientTlsConfig, Error> {
        let mut config = ClientTlsConfig::new();
        config = match self.ca_certificate {
            Some(pem) => {
                config.ca_certificate(Certificate::from_pem(pem_of("ca_certificate", pem)?))
            }
            None => config.with_native_roots(),
        };
        if let Some((certificate_chain, private_key)) = self.identity {
            config = config.identity(Identity::from_pem(
                pem_of("certificate_chain", certificate_chain)?,
                pem_of("private_key", private_key)?,
            ));
        }
        if let Some(domain_name) = self.domain_name {
            config = config.domain_name(domain_name);
        }
        Ok(config)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A private key is no text for a log.
        f.debug_struct("Tls")
            .field("has_ca_certificate", &self.ca_certificate.is_some())
            .field("has_identity", &self.identity.is_some())
            .field("domain_name", &self.domain_name)
            .finish_non_exhaustive()
    }
}

/// Refuses what is no PEM here, since rustls takes one without a certificate as an empty list.
fn pem_of(name: &str, pem: Vec<u8>) -> Result<Vec<u8>, Error> {
    const BEGIN: &[u8] = b"-----BEGIN ";
    if pem.windows(BEGIN.len()).any(|window| window == BEGIN) {
        Ok(pem)
    } else {
        Err(Error::InvalidInput(format!(
            "{name} is not a PEM, which has a line -----BEGIN ...-----"
        )))
    }
}
