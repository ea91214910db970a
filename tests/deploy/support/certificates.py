"""Certificates for tests."""

from support.programs import run


def self_signed(directory, name="imap.example.org", certificate="tls.crt", key="tls.key"):
    """A new pair of files; returns their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    files = directory / certificate, directory / key
    run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
         "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-out", files[0], "-keyout", files[1]])
    return files


def issued_to(directory, address):
    """A pair for an IP address that is no authority, and that whoever trusts it may be shown; returns the paths."""
    config = directory / "openssl.cnf"
    config.write_text("[req]\ndistinguished_name = name\n[name]\n")
    files = directory / "server.crt", directory / "server.key"
    run(["openssl", "req", "-x509", "-config", config, "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
         "30", "-subj", f"/CN={address}", "-addext", f"subjectAltName=IP:{address}", "-addext",
         "basicConstraints=critical,CA:FALSE", "-out", files[0], "-keyout", files[1]])
    return files


def key_file(path):
    """A key file, made as docs/kubernetes.md says."""
    key = run(["openssl", "rand", "-base64", "32"]).stdout.strip()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"imapwarden-key-v1\n{key}\n")
