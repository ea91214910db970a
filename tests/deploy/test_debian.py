"""The Debian package: installed, upgraded and removed by dpkg, in a layer above this system."""

import re

import pytest

from support.debian import METADATA, Machine, assets, build
from support.programs import REPOSITORY, imapwarden, run
from support.shell import commands, section, words


@pytest.fixture
def machine(tmp_path):
    with Machine(tmp_path / "machine", tmp_path) as made:
        yield made


def test_what_is_packed_is_there_and_goes_where_debian_looks_for_it():
    places = {str(place): (source, mode) for source, place, mode in assets()}
    assert places["usr/bin/imapwarden"] == (imapwarden(), 0o755)
    for place in ("usr/lib/systemd/system/imapwarden.service", "usr/lib/systemd/system/imapwarden.socket",
                  "usr/lib/sysusers.d/imapwarden.conf", "usr/lib/tmpfiles.d/imapwarden.conf",
                  "usr/share/doc/imapwarden/docs/operations.md", "usr/share/doc/imapwarden/examples/imapwarden.yaml"):
        assert places[place][1] == 0o644, place
    assert {f"/{place}" for place in places if place.startswith("etc/")} == set(METADATA["conf-files"])
    # The same unit serves whoever installs by hand.
    unit = places["usr/lib/systemd/system/imapwarden.service"][0].read_text()
    assert "\nExecStart=imapwarden serve\n" in unit


@pytest.mark.parametrize("name", ["postinst", "prerm", "postrm"])
def test_the_scripts_are_scripts(name):
    script = REPOSITORY / METADATA["maintainer-scripts"] / name
    assert script.stat().st_mode & 0o777 == 0o755 and script.read_text().startswith("#!/bin/sh\n")
    run(["dash", "-n", script])
    # Nothing is started but what runs already.
    assert not re.search(r"\b(enable|restart|start)\b(?<!try-restart)", re.sub(r"#.*|echo .*", "", script.read_text()))


def test_a_package_that_was_installed_has_everything_and_starts_nothing_before_it_is_configured(machine, tmp_path):
    package = build(tmp_path)
    machine.run("dpkg", "--install", "--force-depends", f"/packages/{package.name}")
    listed = machine.run("stat", "-c", "%U:%G %a %n", "/etc/imapwarden", "/var/lib/imapwarden", "/var/log/imapwarden").stdout
    assert listed.splitlines() == ["root:imapwarden 750 /etc/imapwarden", "imapwarden:imapwarden 700 /var/lib/imapwarden",
                                   "imapwarden:imapwarden 750 /var/log/imapwarden"]
    assert machine.run("find", "/etc/systemd/system", "-name", "imapwarden*").stdout == ""
    as_daemon = ["runuser", "-u", "imapwarden", "--", "imapwarden"]
    # The example is read, and is no configuration: even whoever starts the service gets an end that systemd does not repeat.
    for command in ("check", "serve"):
        said = machine.run(*as_daemon, command, check=False)
        assert said.returncode == 78 and "backends" in said.stderr, said.stderr
    unit = (REPOSITORY / "examples/systemd/imapwarden.service").read_text()
    assert "78" in re.search(r"^RestartPreventExitStatus=(.*)$", unit, re.MULTILINE)[1].split()
    said = machine.run("systemd-analyze", "verify", "--man=no", "/usr/lib/systemd/system/imapwarden.service",
                       "/usr/lib/systemd/system/imapwarden.socket", check=False)
    about_us = [line for line in (said.stdout + said.stderr).splitlines() if "imapwarden" in line]
    assert said.returncode == 0 and about_us == [], said.stderr
    # With the marks of comment taken out it is one.
    machine.run("sed", "-i", r"s/^# \(backends:\|  - address\)/\1/", "/etc/imapwarden/imapwarden.yaml")
    assert machine.run(*as_daemon, "check").returncode == 0
    assert machine.run(*as_daemon, "user", "list").returncode == 0


def test_an_upgrade_keeps_the_configuration_and_a_purge_the_store(machine, tmp_path):
    old = build(tmp_path, "0.0.1")
    new = build(tmp_path, changes={"etc/imapwarden/imapwarden.yaml": "# Another example.\n"})
    machine.run("dpkg", "--install", "--force-depends", f"/packages/{old.name}")
    mine = "backends: [{address: '127.0.0.1:143'}]"
    machine.run("sh", "-c", f'echo "{mine}" > /etc/imapwarden/imapwarden.yaml; echo > /var/lib/imapwarden/imapwarden.db')
    machine.run("dpkg", "--install", "--force-depends", "--force-confold", f"/packages/{new.name}")
    assert machine.run("cat", "/etc/imapwarden/imapwarden.yaml").stdout == f"{mine}\n"
    machine.run("dpkg", "--remove", "imapwarden")
    assert machine.run("ls", "/etc/imapwarden").stdout.split() == ["imapwarden.yaml", "imapwarden.yaml.dpkg-dist", "tls"]
    said = machine.run("dpkg", "--purge", "imapwarden")
    assert "were left" in said.stderr
    assert machine.run("ls", "/var/lib/imapwarden").stdout == "imapwarden.db\n"
    assert machine.run("test", "-e", "/etc/imapwarden/imapwarden.yaml", check=False).returncode == 1


def test_the_readmes_way_from_the_package_to_the_first_user_works(machine, tmp_path):
    package = build(tmp_path)
    (tmp_path / "told").write_text(TOLD.replace("*is-active*) exit 0", "*is-active*) exit 1"))
    machine.run("sh", "-c", "mkdir -p /run/systemd/system; install -m 755 /packages/told $(command -v systemctl)")
    done = []
    for command in commands(section((REPOSITORY / "README.md").read_text(), "## On Debian, in front of a Dovecot")):
        if command.startswith("cargo "):
            # What `cargo deb` reads is what the package here is made of.
            continue
        if command.startswith("sudo apt-get install "):
            assert words(command)[-1] == "./target/debian/imapwarden_*.deb"
            machine.run("dpkg", "--install", "--force-depends", f"/packages/{package.name}")
        elif "app-password" in command or command.startswith("curl "):
            # These want a mail server; that there are such commands, another test sees to.
            continue
        else:
            machine.run("sh", "-c", as_root(command))
        done.append(command)
    assert len(done) == 5, done
    assert machine.run("cat", "/told").stdout.splitlines()[-1].endswith("systemctl enable --now imapwarden")
    assert "alice" in machine.run("runuser", "-u", "imapwarden", "--", "imapwarden", "user", "list").stdout


def as_root(command):
    """A command of the pages for somebody who is root already."""
    return command.replace("sudo -u imapwarden ", "runuser -u imapwarden -- ").replace("sudo ", "")


def test_the_hook_for_certbot_brings_in_what_root_alone_may_read_and_fails_where_it_is_refused(machine, tmp_path):
    page = (REPOSITORY / "docs/operations.md").read_text()
    [hook] = re.findall(r"^```\n(#!/bin/sh\n.*?)^```", section(page, "### Certificates from certbot"), re.MULTILINE | re.DOTALL)
    package = build(tmp_path)
    machine.run("dpkg", "--install", "--force-depends", f"/packages/{package.name}")
    (tmp_path / "hook").write_text(hook)
    (tmp_path / "imapwarden.yaml").write_text(
        "backends: [{address: '127.0.0.1:143'}]\nlisteners: [{address: '127.0.0.1:0'}]\nmetrics: {address: off}\n"
        "tls: {certificates: [{certificate_file: /etc/imapwarden/tls/fullchain.pem, key_file: /etc/imapwarden/tls/privkey.pem}]}\n")
    # Open to root alone, as certbot has it.
    live = "/etc/letsencrypt/live/mail.example.org"
    machine.run("sh", "-c", f"""set -e; umask 077; mkdir -p {live}
        install -m 644 /packages/imapwarden.yaml /etc/imapwarden/
        install -m 755 /packages/hook /usr/local/sbin/imapwarden-certificate
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 9 -subj /CN=mail.example.org \\
            -addext subjectAltName=DNS:mail.example.org -keyout {live}/privkey.pem -out {live}/fullchain.pem 2>/dev/null""")
    [first] = [one for one in commands(section(page, "### Certificates from certbot")) if "RENEWED_LINEAGE" in one]
    run_hook = ["sh", "-c", as_root(first)]
    assert machine.run("runuser", "-u", "imapwarden", "--", "cat", f"{live}/privkey.pem", check=False).returncode != 0
    # No process is there yet to be told.
    assert machine.run(*run_hook, check=False).returncode == 69
    listed = machine.run("stat", "-c", "%U:%G %a", "/etc/imapwarden/tls/privkey.pem").stdout
    assert listed == "root:imapwarden 640\n"
    machine.run("sh", "-c", """runuser -u imapwarden -- imapwarden serve >/dev/null 2>/dev/null & echo $! >/pid
        for try in $(seq 300); do test -S /var/lib/imapwarden/control.sock && exit; sleep 0.1; done; exit 1""")
    try:
        assert "certificates, rules and databases were read again" in machine.run(*run_hook).stdout
        machine.run("sh", "-c", f"echo nonsense > {live}/fullchain.pem")
        refused = machine.run(*run_hook, check=False)
        assert refused.returncode == 78 and "fullchain.pem" in refused.stderr, refused.stderr
    finally:
        machine.run("sh", "-c", "kill $(cat /pid)")


def test_a_key_file_for_several_replicas_is_made_where_the_daemon_reads_it_and_root_alone_writes(machine, tmp_path):
    package = build(tmp_path)
    machine.run("dpkg", "--install", "--force-depends", f"/packages/{package.name}")
    text = section((REPOSITORY / "docs/operations.md").read_text(), "## Several replicas")
    copy, make, group = [as_root(one) for one in commands(text) if "imapwarden.key" in one and "migrate" not in one]
    file = "/etc/imapwarden/imapwarden.key"
    (tmp_path / "imapwarden.yaml").write_text(f"backends: [{{address: '127.0.0.1:143'}}]\nkey_file: {file}\n")
    machine.run("install", "-m", "644", "/packages/imapwarden.yaml", "/etc/imapwarden/")
    cli = ["runuser", "-u", "imapwarden", "--", "imapwarden"]
    assert machine.run(*cli, "user", "list", check=False).returncode == 77, "nobody makes it by itself"
    for command in (make, group):
        machine.run("sh", "-c", command)
    assert machine.run("stat", "-c", "%U:%G %a", file).stdout == "root:imapwarden 640\n"
    assert machine.run("sh", "-c", make, check=False).returncode != 0, "one that is there stays"
    machine.run(*cli, "user", "add", "alice")
    assert machine.run(*cli, "key", "add", check=False).returncode == 77
    machine.run("imapwarden", "key", "add")
    assert machine.run("stat", "-c", "%U:%G %a", file).stdout == "root:imapwarden 640\n"
    assert "waiting" in machine.run(*cli, "key", "status").stdout
    # The key of a store that was there before.
    machine.run("sh", "-c", f"mv {file} /var/lib/imapwarden/; chown imapwarden: /var/lib/imapwarden/imapwarden.key; {copy}")
    assert "alice" in machine.run(*cli, "user", "list").stdout


def test_a_backup_as_the_page_has_it_is_written_by_the_daemons_user_and_read_by_nobody_else(machine, tmp_path):
    package = build(tmp_path)
    machine.run("dpkg", "--install", "--force-depends", f"/packages/{package.name}")
    text = (REPOSITORY / "docs/operations.md").read_text()
    place, backup, _key, again, dump = [as_root(one) for one in commands(section(text, "### Backup"))]
    machine.run("runuser", "-u", "imapwarden", "--", "imapwarden", "--data", "/var/lib/imapwarden", "user", "add", "alice")
    machine.run("sh", "-c", place)
    # What the command-line tool of SQLite does, which need not be installed here.
    *as_daemon, tool, source, order = words(backup)
    target = order.removeprefix(".backup ")
    copy = "import sqlite3, sys; one, two = map(sqlite3.connect, sys.argv[1:]); one.backup(two)"
    machine.run(*as_daemon, "python3", "-c", copy, source, target)
    assert tool == "sqlite3" and place == again and words(dump)[4] == "pg_dump"
    assert machine.run("stat", "-c", "%U:%G %a", target.rsplit("/", 1)[0]).stdout == "imapwarden:imapwarden 700\n"
    [restore] = [as_root(one) for one in commands(section(text, "### Restore")) if target in one]
    machine.run("sh", "-c", f"rm /var/lib/imapwarden/imapwarden.db*; {restore}")
    listed = machine.run("runuser", "-u", "imapwarden", "--", "imapwarden", "--data", "/var/lib/imapwarden", "user", "list").stdout
    assert "alice" in listed


#: In place of systemd: says that the service runs, and writes down what it is told.
TOLD = '#!/bin/sh\ncase "$*" in *is-active*) exit 0;; *) echo "$0 $*" >> /told;; esac\n'


@pytest.mark.parametrize(("text", "restarted"), [("backends: [{address: '127.0.0.1:143'}]", True), ("backends: []", False)])
def test_an_upgrade_restarts_what_runs_unless_the_new_program_would_refuse_its_configuration(machine, tmp_path, text, restarted):
    old, new = build(tmp_path, "0.0.1"), build(tmp_path)
    machine.run("dpkg", "--install", "--force-depends", f"/packages/{old.name}")
    (tmp_path / "told").write_text(TOLD)
    machine.run("sh", "-c", f'''mkdir -p /run/systemd/system; echo "{text}" > /etc/imapwarden/imapwarden.yaml
        for program in systemctl deb-systemd-invoke; do
            place=$(command -v $program); rm $place; install -m 755 /packages/told $place
        done''')
    said = machine.run("dpkg", "--install", "--force-depends", "--force-confold", f"/packages/{new.name}")
    told = machine.run("cat", "/told").stdout
    assert ("try-restart imapwarden.service" in told) == restarted, told
    assert ("the old program goes on" in said.stderr) == (not restarted)
