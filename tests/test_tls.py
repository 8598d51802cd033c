"""TLS contexts from files, and what is said of files that are not what they should be."""

import shutil
import ssl
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization as keys

from proxy.tls import Pem, TlsFiles, TlsMistake, client_context, renew, server_context
from tests.certificates import Authority
from tests.configurations import Folder


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """An authority with a server's certificate beside it."""
    made = Authority(tmp_path)
    made.ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    made.issue("127.0.0.1")
    return made


def pem(authority: Authority) -> Pem:
    """All that an authority's server has."""
    folder = authority.folder
    return TlsFiles.within(folder, ca="ca.pem", certificate="server.pem", key="server.key").read()


def test_contexts_are_strict(authority: Authority) -> None:
    """TLS 1.2 at least; who is called is verified, by name too; a listener asks for what it was told to."""
    towards, ours, open_to_all = (
        client_context(pem(authority)),
        server_context(pem(authority)),
        server_context(Pem(None, pem(authority).certificate, pem(authority).key)),
    )
    for context in (towards, ours, open_to_all):
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert (towards.verify_mode, towards.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert (ours.verify_mode, open_to_all.verify_mode) == (ssl.CERT_REQUIRED, ssl.CERT_NONE)


def test_an_authority_is_believed_instead_of_the_systems(authority: Authority) -> None:
    """Else whoever gets a public certificate for the name would be believed as well."""
    assert len(client_context(pem(authority)).get_ca_certs()) == 1
    assert client_context(Pem()).cert_store_stats() == ssl.create_default_context().cert_store_stats()


def test_a_bundle_may_hold_words(authority: Authority) -> None:
    """Bundles come with comments in any language between their certificates."""
    found = pem(authority)
    assert found.ca is not None
    bundle = "# Größte CA\n".encode() + found.ca + b"\xff\n" + Authority(authority.folder).ca.cert_pem.bytes()
    assert len(client_context(Pem(ca=bundle)).get_ca_certs()) == 2


def test_a_key_may_be_in_the_certificates_file(authority: Authority) -> None:
    """As many tools write it."""
    found = pem(authority)
    assert found.certificate is not None
    assert found.key is not None
    server_context(Pem(certificate=found.key + found.certificate))


def test_no_key_shows(authority: Authority) -> None:
    """What the files hold is in no text of ours."""
    assert "PRIVATE" not in repr(pem(authority))
    assert repr(pem(authority)) == "Pem()"


def encrypted(authority: Authority) -> bytes:
    """The server's key under a password."""
    found = pem(authority).key
    assert found is not None
    key = keys.load_pem_private_key(found, None)
    return key.private_bytes(
        keys.Encoding.PEM, keys.PrivateFormat.PKCS8, keys.BestAvailableEncryption(b"password")
    )


def other_key(authority: Authority) -> bytes:
    """A key of another certificate."""
    return authority.issue("127.0.0.1", stem="other")[1].read_bytes()


DAMAGED = b"-----BEGIN CERTIFICATE-----\nTm90IHRoaXM=\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("section", "name", "content", "told"),
    [
        ("gateway", "ca", None, "ca: cannot be read: No such file or directory"),
        ("gateway", "ca", b"nothing", "ca: holds no certificate in PEM"),
        ("gateway", "ca", DAMAGED, "ca: holds a damaged certificate"),
        ("gateway", "ca", bytes(5_000_000), "ca: is too large"),
        ("gateway", "certificate", None, "certificate: cannot be read: No such file or directory"),
        ("gateway", "certificate", b"nothing", "certificate: holds no certificate in PEM"),
        ("gateway", "certificate", DAMAGED, "certificate: holds a damaged certificate"),
        ("gateway", "key", None, "key: cannot be read: No such file or directory"),
        ("gateway", "key", b"nothing", "key: holds no private key in PEM"),
        ("gateway", "key", b"-----BEGIN %b-----\n" % b"PRIVATE KEY", "key: holds a key that cannot be used"),
        ("gateway", "key", other_key, "key: does not fit the certificate"),
        ("gateway", "key", encrypted, "key: is encrypted; give a key without a password"),
        ("activity", "key", other_key, "key: does not fit the certificate"),
        ("cache", "key", other_key, "key: does not fit the certificate"),
        ("listen_tls", "certificate", None, "certificate: cannot be read: No such file or directory"),
        ("listen_tls", "client_ca", b"nothing", "client_ca: holds no certificate in PEM"),
        ("admin_tls", "key", encrypted, "key: is encrypted; give a key without a password"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_with_its_line(
    authority: Authority,
    section: str,
    name: str,
    content: bytes | Callable[[Authority], bytes] | None,
    told: str,
) -> None:
    """At the start, each by the key that names it; nothing in it is shown, and no password asked for."""
    damaged = content(authority) if callable(content) else content
    (authority.folder / "bad.pem").write_bytes(damaged or b"")
    if damaged is None:
        (authority.folder / "bad.pem").unlink()
    ca = "client_ca" if section == "listen_tls" else "ca"
    files = {ca: "ca.pem", "certificate": "server.pem", "key": "server.key"}
    if section == "admin_tls":
        del files["ca"]
    lines = "".join(f"    {key}: {value}\n" for key, value in {**files, name: "bad.pem"}.items())
    urls = {"gateway": "https://gateway/api", "activity": "https://activity", "cache": "rediss://cache"}
    if section in urls:
        text = f"{section}:\n  url: {urls[section]}\n  tls:\n{lines}"
        if section == "cache":
            text += "identity: {key: a-long-secret-text-for-the-sessions-in-a-redis}\n"
        line, place = 4 + list(files).index(name), f"{section}.tls"
    else:
        text, line, place = f"{section}:\n{lines}", 2 + list(files).index(name), section
    assert Folder(authority.folder).problems(text) == [f"proxy.yaml:{line}:5: {place}.{told}"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("gateway: {tls: {key: a}}", "1:17: gateway.tls.key: is of no use without certificate"),
        ("listen_tls: {client_ca: a}", "1:14: listen_tls.client_ca: is of no use without certificate"),
        ("admin_tls: {key: a}", "1:13: admin_tls.key: is of no use without certificate"),
        ("admin_tls: {client_ca: a}", "1:13: unknown key admin_tls.client_ca"),
        ("activity: {tls: {ca: a}}", "1:12: activity.tls: is of no use, since url is not https"),
        ("gateway: {tls: {ca: a}}", "1:11: gateway.tls: is of no use, since url is not https"),
        (
            "identity: {discord_url: 'http://discord/api', tls: {ca: a}}",
            "1:47: identity.tls: is of no use, since discord_url is not https",
        ),
        ("cache: {tls: {ca: a}}", "1:9: cache.tls: is of no use, since url is not rediss"),
        ("cache: {tls: {verify: false}}", "1:15: unknown key cache.tls.verify"),
    ],
)
def test_what_would_do_nothing_is_refused(tmp_path: Path, text: str, told: str) -> None:
    """A section that is not heeded would look like safety; and there is no switch for less of it."""
    assert Folder(tmp_path).problems(text) == [f"proxy.yaml:{told}"]


def test_files_are_found_beside_the_configuration(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the working directory is; a full path is one."""
    monkeypatch.chdir("/")
    full = authority.folder / "ca.pem"
    listener = {"certificate": "server.pem", "key": "server.key", "client_ca": str(full)}
    text = f"gateway: {{url: https://gateway/api, tls: {{ca: ca.pem}}}}\nlisten_tls: {listener}"
    configuration = Folder(authority.folder).load(text)
    assert configuration.tls_files(configuration.settings.gateway.tls).ca == full
    assert configuration.tls_files(configuration.settings.listen_tls).ca == full


def test_a_failed_renewal_leaves_a_context_as_it_was(authority: Authority) -> None:
    """OpenSSL itself would take the new certificate before it finds that the key is another's."""
    found = pem(authority)
    ours, towards = server_context(Pem(None, found.certificate, found.key)), client_context(found)
    key = other_key(authority)
    certificate = (authority.folder / "other.pem").read_bytes()
    served = shake(ours, towards)
    assert served is not None
    with pytest.raises(TlsMistake, match="does not fit"):
        renew(ours, found, Pem(None, certificate, found.key))
    assert shake(ours, towards) == served
    renew(ours, found, Pem(None, certificate, key))
    assert shake(ours, towards) not in (served, None)


def shake(ours: ssl.SSLContext, towards: ssl.SSLContext) -> bytes | None:
    """Shake hands without a network; return the certificate that was shown."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = ours.wrap_bio(there, back, server_side=True)
    client = towards.wrap_bio(back, there, server_hostname="127.0.0.1")
    for _ in range(5):
        for side in (client, server):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
    return client.getpeercert(binary_form=True)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_files_of_openssl_itself_are_read(tmp_path: Path) -> None:
    """Keys in the older form (PKCS#1, SEC 1) are as good as the newer."""
    for kind in ("rsa:2048", "ec"):
        options = [] if kind != "ec" else ["-pkeyopt", "ec_paramgen_curve:prime256v1"]
        command = f"openssl req -x509 -nodes -days 2 -subj /CN=a -newkey {kind}".split()
        subprocess.run(  # noqa: S603  (our own words)
            [*command, *options, "-out", tmp_path / "c.pem", "-keyout", tmp_path / "k.pem"],
            check=True,
            capture_output=True,
        )
        server_context(TlsFiles.within(tmp_path, certificate="c.pem", key="k.pem").read())
