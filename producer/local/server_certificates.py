"""A certificate that the parts of the S3 server show each other, and nobody else has: their doors open to no other.

Made anew at every start and signed by an authority whose key is dropped at once, so it is neither renewed nor copied.
"""

import ipaddress
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from posemill.errors import ServiceError
from producer.local.service_state import LOOPBACK, write_private

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
    from cryptography.x509 import Certificate, CertificateBuilder

AUTHORITY = "authority.pem"
CERTIFICATE = "certificate.pem"
KEY = "key.pem"
FROM, UNTIL = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)  # whatever the clock says


def write_certificates(folder: Path) -> None:
    """A new authority, and a certificate with its key for both sides of a connection, as files of their owner."""
    try:
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    except ImportError as error:
        raise ServiceError(
            "cryptography is not installed, so no S3 server can be started here: pip install 'posemill[embedded]'"
        ) from error
    signing, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = _certificate("posemill authority", signing.public_key(), signing, _as_authority)
    certificate = _certificate("posemill", own.public_key(), signing, _for_both_sides)
    private = own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for name, content in (
        (AUTHORITY, authority.public_bytes(Encoding.PEM)),
        (CERTIFICATE, certificate.public_bytes(Encoding.PEM)),
        (KEY, private),
    ):
        write_private(folder / name, content.decode())


def _certificate(
    name: str,
    public: "EllipticCurvePublicKey",
    signing: "EllipticCurvePrivateKey",
    extended: "Callable[[CertificateBuilder], CertificateBuilder]",
) -> "Certificate":
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.x509.oid import NameOID

    def named(value: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, value)])

    builder = (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(named("posemill authority"))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(FROM)
        .not_valid_after(UNTIL)
    )
    return extended(builder).sign(signing, SHA256())


def _as_authority(builder: "CertificateBuilder") -> "CertificateBuilder":
    from cryptography import x509

    return builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)


def _for_both_sides(builder: "CertificateBuilder") -> "CertificateBuilder":
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(LOOPBACK))])
    uses = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    return builder.add_extension(names, critical=False).add_extension(uses, critical=False)
