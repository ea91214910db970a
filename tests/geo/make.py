#!/usr/bin/env python3
"""Makes the databases beside it: `pip install mmdb-writer netaddr`, then run this.

The networks are those set aside for documentation (RFC 5737, RFC 3849) and this machine; what is said of them is made up.
"""

from pathlib import Path

from mmdb_writer import MMDBWriter
from netaddr import IPSet

HERE = Path(__file__).parent

COUNTRIES = {
    "127.0.0.0/8": "CH",
    "192.0.2.0/24": "DE",
    "198.51.100.0/25": "NL",
    "2001:db8::/32": "FR",
}

NETWORKS = {
    "127.0.0.0/8": (64500, "Example Loopback AG"),
    "192.0.2.0/24": (64501, "Example Net Zürich"),
    "2001:db8::/32": (4200000000, "Example Six"),
}


def write(name, kind, records):
    writer = MMDBWriter(
        ip_version=6,
        ipv4_compatible=True,
        database_type=kind,
        languages=["en"],
        description={"en": "Made up for the tests of imapwarden"},
        int_type="u32",
    )
    for network, record in records.items():
        writer.insert_network(IPSet([network]), record)
    writer.to_db_file(str(HERE / name))


write(
    "country.mmdb",
    "Test-Country",
    {
        network: {"country": {"iso_code": code, "names": {"en": "made up"}}, "registered_country": {"iso_code": code}}
        for network, code in COUNTRIES.items()
    },
)
write(
    "asn.mmdb",
    "Test-ASN",
    {
        network: {"autonomous_system_number": number, "autonomous_system_organization": name}
        for network, (number, name) in NETWORKS.items()
    },
)
