"""Content credentials (C2PA): sign a picture's file, verify one, and make a certificate to sign with. All offline.

c2pa-python does the work, and is an extra: it is imported inside the functions that need it.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import importlib.metadata
import importlib.util
import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from graph.errors import MissingError, StepError, UsageError
from graph.filerefs import FileRef
from graph.signatures import JPEG, PNG, is_webp

EXTRA = 'pip install "darkroom[c2pa]"'
SOURCES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
"""Where the words for how a picture came about are defined."""
WORKFLOW = "org.darkroom.workflow"
"""The label of what Darkroom itself says."""
YEARS = 10
"""How long a certificate made here is valid."""
LARGEST = 1 << 20
"""Bytes of a file with a key and certificates."""
_OFFLINE = {
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
    "builder": {"thumbnail": {"enabled": False}},
}


class Certificate(FileRef):
    """A PEM file with a private key (P-256) and the certificates that vouch for it, its own first."""

    what = "certificate"

    @classmethod
    def find(cls, written: str, folder: Path) -> Self:
        """Locate it. Raises MissingError: not there, no key and certificate in it, or c2pa-python is not installed."""
        found = super().find(written, folder)
        need()
        with found.path.open("rb") as file:
            text = file.read(LARGEST)
        for part in (b"PRIVATE KEY", b"CERTIFICATE"):
            if b"-----BEGIN " not in text or part + b"-----" not in text:
                raise MissingError(
                    f'certificate "{written:.200}" has no {part.decode().lower()}',
                    hint="Make one: darkroom c2pa certificate mine.pem --name NAME",
                )
        return found


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the credentials of a picture say."""

    state: str
    """trusted, valid (as it was signed, but nobody vouches for who signed), altered or unsigned."""
    signer: str = ""
    said: Mapping[str, Any] | None = None
    """What Darkroom wrote: "workflow", "source"."""
    why: tuple[str, ...] = ()
    """C2PA's codes of what is wrong."""

    @property
    def ok(self) -> bool:
        """Whether the file is as it was signed."""
        return self.state in ("trusted", "valid")


def need() -> None:
    """Raise MissingError where c2pa-python is not installed."""
    if importlib.util.find_spec("c2pa") is None:
        raise MissingError("content credentials need the package c2pa-python, which is not installed", hint=EXTRA)


def signed(data: bytes, told: str, certificate: Path, *, edited: bool) -> bytes:
    """Sign the file of a picture (PNG, JPEG or WEBP).

    told: the text that says how it was made; its sha256 is signed with it. edited: a picture that was there before
    was changed, none was made from nothing. Raises StepError where the key does not fit the certificates.
    """
    import c2pa

    pem = certificate.read_bytes()
    info = c2pa.C2paSignerInfo(b"es256", _parts(pem, b"CERTIFICATE"), _parts(pem, b"PRIVATE KEY"), None)
    out = io.BytesIO()
    try:
        with (
            c2pa.Context.from_dict(_OFFLINE) as context,
            c2pa.Signer.from_info(info) as signer,
            c2pa.Builder.from_json(_manifest(told, edited=edited), context=context) as builder,
        ):
            builder.sign(signer, _media_type(data), io.BytesIO(data), out)
    except c2pa.C2paError as error:
        raise StepError(
            f'the picture cannot be signed with "{certificate.name}": {error}',
            hint="darkroom c2pa certificate FILE makes a key and certificate that go.",
        ) from error
    return out.getvalue()


def verify(path: Path, trusted: Path | None = None) -> Verdict:
    """Say whether a file is as it was signed. trusted: a PEM file with certificates to believe.

    Raises MissingError where c2pa-python or a file is missing, or the file is no picture.
    """
    need()
    import c2pa

    data = _read(path)
    trust = {"trust": {"user_anchors": _parts(_read(trusted), b"CERTIFICATE").decode()}} if trusted else {}
    try:
        with (
            c2pa.Context.from_dict({**_OFFLINE, **trust}) as context,
            c2pa.Reader(_media_type(data), io.BytesIO(data), context=context) as reader,
        ):
            told = json.loads(reader.json())
    except c2pa.C2paError.ManifestNotFound:
        return Verdict("unsigned")
    except c2pa.C2paError as error:
        return Verdict("altered", why=(str(error),))
    manifest = told["manifests"][told["active_manifest"]]
    state = {"Trusted": "trusted", "Valid": "valid"}.get(told.get("validation_state"), "altered")
    codes = tuple(failure["code"] for failure in told.get("validation_status", ()))
    said = next((one["data"] for one in manifest.get("assertions", ()) if one["label"] == WORKFLOW), None)
    return Verdict(state, manifest.get("signature_info", {}).get("common_name", ""), said, codes)


def make_certificate(path: Path, name: str) -> None:
    """Write a new key and its certificate into one file that only its owner can read; never over another file.

    Whoever has the file signs as `name`. It is vouched for by a root made with it, whose key is thrown away.
    """
    need()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    root, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = f"{name} (self-made root)"
    chain = _certificate(name, own, issuer, root) + _certificate(issuer, root, issuer, root)
    key = own.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(key + chain)
    except FileExistsError as error:
        raise UsageError(f'"{path}" is there already', hint="A key that is lost cannot be made again.") from error


def tell(request: argparse.Namespace) -> tuple[int, str]:
    """Do what `darkroom c2pa` is asked for; give the exit code and what to print."""
    path = Path(request.file)
    if request.action == "certificate":
        make_certificate(path, request.name)
        return 0, f"{path} holds a key and a certificate for {request.name}: keep it to yourself"
    verdict = verify(path, Path(request.trust) if request.trust else None)
    if request.json:
        told = {"state": verdict.state, "signer": verdict.signer, "said": verdict.said, "why": list(verdict.why)}
        return int(not verdict.ok), json.dumps(told)
    return int(not verdict.ok), f"{path}: {_words(verdict)}"


def _words(verdict: Verdict) -> str:
    made = f"\n  made by the workflow {verdict.said['workflow']}" if verdict.said and "workflow" in verdict.said else ""
    return {
        "trusted": f"as {verdict.signer} signed it{made}",
        "valid": f"as it was signed; who signed calls themselves {verdict.signer}, which nobody you trust vouches "
        f"for (--trust FILE names a certificate){made}",
        "altered": f"altered since it was signed: {', '.join(verdict.why)}",
        "unsigned": "not signed, or the signature was lost when it was saved again",
    }[verdict.state]


def _manifest(told: str, *, edited: bool) -> dict[str, Any]:
    agent = {"name": "Darkroom", "version": _version()}
    source = SOURCES + ("compositeWithTrainedAlgorithmicMedia" if edited else "trainedAlgorithmicMedia")
    # The first action must be c2pa.created or c2pa.opened, and opened needs the picture of before.
    actions: list[dict[str, Any]] = [
        {"action": "c2pa.created", "softwareAgent": agent, "digitalSourceType": source},
        *([{"action": "c2pa.edited", "softwareAgent": agent}] if edited else []),
    ]
    digest = f"sha256:{hashlib.sha256(told.encode('utf-8', 'surrogatepass')).hexdigest()}"
    return {
        "claim_generator_info": [agent],
        "assertions": [
            {"label": "c2pa.actions", "data": {"actions": actions}},
            {"label": WORKFLOW, "data": {"workflow": digest, "source": source}},
        ],
    }


def _certificate(name: str, key: Any, issuer: str, issuer_key: Any) -> bytes:
    """One certificate as PEM: of a signer, or of the root where the names agree.

    Source: C2PA technical specification 2.1, section 14.5.1, certificate profile.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def named(text: str) -> x509.Name:
        parts = (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME)
        return x509.Name([x509.NameAttribute(part, text) for part in parts])

    now, is_root = datetime.datetime.now(datetime.UTC), name == issuer
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only",
         "decipher_only"), False,
    )  # fmt: skip
    built = (
        x509.CertificateBuilder(named(issuer), named(name), key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=365 * YEARS))
        .add_extension(x509.BasicConstraints(is_root, None), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=True, key_cert_sign=is_root, crl_sign=is_root, **usage), critical=True
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if not is_root:
        built = built.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    return built.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _parts(pem: bytes, kind: bytes) -> bytes:
    """The parts of a PEM file of one kind."""
    parts = (b"-----BEGIN " + part for part in pem.split(b"-----BEGIN ")[1:])
    return b"".join(part for part in parts if kind in part.partition(b"\n")[0])


def _media_type(data: bytes) -> str:
    for start, kind in ((PNG, "image/png"), (JPEG, "image/jpeg")):
        if data.startswith(start):
            return kind
    if is_webp(data[:12]):
        return "image/webp"
    raise MissingError("this is not a PNG, JPEG or WEBP file", hint="Name a picture.")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise MissingError(f'"{path}" cannot be read: {error.strerror or error}') from error


def _version() -> str:
    try:
        return importlib.metadata.version("darkroom")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
