"""The role ec2 as its users see it: what is in the account afterwards, what a run costs, and what is refused."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from helpers.aws import CALLS, EPHEMERAL, REFUSALS, ansible, client, instances, play, succeeds, tags
from helpers.playbooks import folded
from helpers.server import ROOT

TODAY = datetime.date.today().isoformat()
KEY = EPHEMERAL / "key"
NAME = "miniweb-production"
GROUP = f"{NAME}-administrators"
INVENTORY = ("--inventory", str(ROOT / "inventory" / "aws_ec2.yml"))
# Nothing of the server is asked that this machine could not answer.
HERE = {"ansible_connection": "local", "ansible_become": False, "ansible_python_interpreter": sys.executable}
NO_KEYS = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
PORTS = (22, 3000, 9090, 9093, 9100)


def refused(playbook: str, sentence: str, environment: dict[str, str] | None = None, **variables: Any) -> None:
    """Run a playbook that must fail with this sentence and leave the account as it was."""
    before = account()
    done = play(playbook, environment=environment, **variables)
    assert done.returncode != 0
    assert sentence in folded(done.stdout)
    assert account() == before


def found_by_inventory(**environment: str) -> dict[str, Any]:
    """What the inventory says about the server."""
    return json.loads(ansible("ansible-inventory", *INVENTORY, "--host", NAME, **environment).stdout)


@contextlib.contextmanager
def elsewhere(region: str, size: str) -> Iterator[str]:
    """Another instance of the server's name, in this region; its identifier."""
    ec2 = boto3.client("ec2", region_name=region, aws_access_key_id="observer", aws_secret_access_key="observer")
    marks = [{"Key": key, "Value": value} for key, value in tags(instances()[0]).items()]
    specification = [{"ResourceType": "instance", "Tags": marks}]
    image = "ami-00000000000debian2"
    (made,) = ec2.run_instances(
        ImageId=image, InstanceType=size, MinCount=1, MaxCount=1, TagSpecifications=specification
    )["Instances"]
    try:
        yield made["InstanceId"]
    finally:
        ec2.terminate_instances(InstanceIds=[made["InstanceId"]])


def group(name: str) -> dict[str, Any]:
    return client("ec2").describe_security_groups(Filters=[{"Name": "group-name", "Values": [name]}])["SecurityGroups"][
        0
    ]


def rules(name: str = GROUP) -> dict[tuple[str, int], str]:
    """Descriptions of the rules of a group, by network and port."""
    found = {}
    for permission in group(name)["IpPermissions"]:
        for entry in permission["IpRanges"] + permission["Ipv6Ranges"]:
            network = entry.get("CidrIp") or entry["CidrIpv6"]
            found[network, permission["FromPort"]] = entry.get("Description", "")
    return found


def operators() -> dict[str, set[str]]:
    """Networks by operator."""
    found: dict[str, set[str]] = {}
    for place, description in rules().items():
        for grant in description.removeprefix("miniweb: ").split("; "):
            found.setdefault(grant.split()[0], set()).add(place[0])
    return found


def account() -> Any:
    """Everything that a run could change."""
    ec2 = client("ec2")
    return (
        [(one["InstanceId"], one["InstanceType"], one["State"]["Name"]) for one in instances()],
        sorted(address["PublicIp"] for address in ec2.describe_addresses()["Addresses"]),
        sorted(pair["KeyName"] for pair in ec2.describe_key_pairs()["KeyPairs"]),
        sorted(one["GroupName"] for one in ec2.describe_security_groups()["SecurityGroups"]),
        rules() if instances() else {},
    )


@pytest.fixture
def refuses() -> Iterator[Any]:
    """Let AWS refuse calls: refuses(RunInstances="UnauthorizedOperation")."""

    def refuse(**calls: str) -> None:
        REFUSALS.write_text(json.dumps(calls))

    yield refuse
    REFUSALS.unlink(missing_ok=True)


@pytest.fixture
def service() -> Iterator[Any]:
    """A service that tells callers their address; its `answers` hold what it returns, by path."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = server.answers[self.path].encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.answers = {"/one": "198.51.100.4\n", "/two": "198.51.100.4", "/six": "2001:db8::4"}
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()


def found_at(service: Any) -> dict[str, Any]:
    return {
        "ec2_access_addresses": [],
        "ec2_access_ipv4_services": [f"{service.url}/one", f"{service.url}/two"],
        "ec2_access_ipv6_services": [f"{service.url}/six"],
    }


def test_the_server_is_as_promised() -> None:
    (server,) = instances()
    assert (server["InstanceType"], server["ImageId"]) == ("t3.small", "ami-00000000000debian2")
    assert server["MetadataOptions"]["HttpTokens"] == "required"
    assert tags(server) == {
        "Name": NAME,
        "Project": "miniweb",
        "Environment": "production",
        "ManagedBy": "miniweb.stack",
        "Distribution": "debian-13",
        "PrivateKeyFile": str(KEY),
    }
    identifier = server["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    volume = client("ec2").describe_volumes(VolumeIds=[identifier])["Volumes"][0]
    assert (volume["Encrypted"], volume["VolumeType"], volume["Size"]) == (True, "gp3", 20)


def test_the_private_key_is_local_and_the_public_key_in_aws() -> None:
    assert KEY.stat().st_mode & 0o777 == 0o600
    (pair,) = client("ec2").describe_key_pairs()["KeyPairs"]
    assert instances()[0]["KeyName"] == pair["KeyName"]
    assert tags(pair)["Name"] == NAME


def test_the_address_stays() -> None:
    (address,) = client("ec2").describe_addresses()["Addresses"]
    assert address["InstanceId"] == instances()[0]["InstanceId"]


def test_the_inventory_finds_it() -> None:
    found = found_by_inventory()
    assert found["ansible_host"] == client("ec2").describe_addresses()["Addresses"][0]["PublicIp"]
    assert found["ansible_user"] == "admin"
    assert found["miniweb_admin_addresses"] == ["0.0.0.0/0"]


def test_the_inventory_uses_the_key_that_the_server_was_made_with() -> None:
    assert found_by_inventory()["ansible_ssh_private_key_file"] == str(KEY)


def test_the_inventory_asks_one_region() -> None:
    with elsewhere("eu-west-1", "t3.large"):
        assert found_by_inventory()["aws_instance_type"] == "t3.small"
        assert found_by_inventory(AWS_REGION="eu-west-1")["aws_instance_type"] == "t3.large"
        profile = EPHEMERAL / "config"
        keys = "aws_access_key_id = testing\naws_secret_access_key = testing\n"
        profile.write_text(f"[profile west]\nregion = eu-west-1\n{keys}")
        west = {"AWS_REGION": "", "AWS_PROFILE": "west", "AWS_CONFIG_FILE": str(profile), **NO_KEYS}
        assert found_by_inventory(**west)["aws_instance_type"] == "t3.large"


def test_two_servers_of_one_name_are_refused() -> None:
    with elsewhere(os.environ["AWS_REGION"], "t3.large") as second:
        identifiers = sorted([second, *(one["InstanceId"] for one in instances())])
        done = ansible("ansible-playbook", *INVENTORY, str(ROOT / "site.yml"), "-e", json.dumps(HERE))
        assert done.returncode != 0
        said = folded(done.stdout)
        assert f"{NAME}: 2 instances in AWS have this name (" in said
        assert all(identifier in said for identifier in identifiers)


@pytest.mark.parametrize(
    ("refusal", "environment", "sentence"),
    [
        ("", {"AWS_REGION": ""}, "The AWS region is missing: set AWS_REGION, or the region of your profile."),
        (
            "",
            {"AWS_REGION": "", "AWS_PROFILE": "nobodys", **NO_KEYS},
            'AWS_PROFILE: the profile "nobodys" is not in your AWS configuration',
        ),
        ("", NO_KEYS, "Unable to locate credentials"),
        ("UnauthorizedOperation", {}, "UnauthorizedOperation"),
        ("", {"AWS_REGION": "eu-north-1"}, "names no server"),
    ],
    ids=["no region", "no profile", "no credentials", "refused", "no server"],
)
def test_an_inventory_that_finds_nothing_is_a_failure(
    refuses: Any, refusal: str, environment: dict[str, str], sentence: str
) -> None:
    if refusal:
        refuses(DescribeInstances=refusal)
    surroundings = {"HOME": str(EPHEMERAL), "AWS_EC2_METADATA_DISABLED": "true", "COLUMNS": "1000", **environment}
    done = ansible("ansible-playbook", *INVENTORY, str(ROOT / "site.yml"), **surroundings)
    assert done.returncode == 1
    assert sentence in folded(done.stderr)
    assert "Traceback" not in done.stderr


def test_everyone_reaches_the_site_and_only_the_operator_the_rest() -> None:
    assert set(rules(f"{NAME}-public")) == {(network, port) for network in ("0.0.0.0/0", "::/0") for port in (80, 443)}
    assert rules() == {("203.0.113.7/32", port): f"miniweb: alice {TODAY}" for port in PORTS}


def test_check_mode_finds_nothing_to_change() -> None:
    before = account()
    assert succeeds("aws_provision", "--check", "--diff") == "unchanged"
    assert account() == before


def test_the_summary_says_what_there_is_what_it_costs_and_what_comes_next() -> None:
    said = folded(play("aws_provision").stdout)
    assert f"Server {NAME}, {instances()[0]['InstanceId']}, t3.small, in eu-central-1" in said
    assert "Cost 20.43 US dollars a month on demand in us-east-1" in said
    assert "ansible-playbook -i inventory/aws_ec2.yml site.yml" in said


def test_access_follows_the_operator_and_nobody_else() -> None:
    assert succeeds("aws_access", ec2_access_operator="bob", ec2_access_addresses=["192.0.2.9"]) == "changed"
    assert succeeds("aws_access", ec2_access_addresses=["198.51.100.4"]) == "changed"
    assert operators() == {"alice": {"198.51.100.4/32"}, "bob": {"192.0.2.9/32"}}
    assert succeeds("aws_access", ec2_access_addresses=["198.51.100.4"]) == "unchanged"


def test_the_address_is_found_by_asking(service: Any) -> None:
    assert succeeds("aws_access", **found_at(service)) == "changed"
    assert operators()["alice"] == {"198.51.100.4/32", "2001:db8::4/128"}
    assert operators()["bob"] == {"192.0.2.9/32"}


def test_one_service_is_enough_when_the_other_is_down(service: Any) -> None:
    services = {**found_at(service), "ec2_access_ipv4_services": ["http://127.0.0.1:9", f"{service.url}/two"]}
    assert succeeds("aws_access", **services) == "unchanged"


def test_two_operators_share_an_address() -> None:
    shared = {"ec2_access_addresses": ["192.0.2.9"]}
    assert succeeds("aws_access", **shared) == "changed"
    assert operators() == {"alice": {"192.0.2.9/32"}, "bob": {"192.0.2.9/32"}}
    assert succeeds("aws_access", ec2_access_action="revoke", ec2_access_operator="bob") == "changed"
    assert operators() == {"alice": {"192.0.2.9/32"}}


def test_grant_adds_and_list_changes_nothing() -> None:
    more = {"ec2_access_action": "grant", "ec2_access_addresses": ["203.0.113.0/24"]}
    assert succeeds("aws_access", "--check", **more) == "changed"
    assert operators() == {"alice": {"192.0.2.9/32"}}
    assert succeeds("aws_access", **more) == "changed"
    assert operators() == {"alice": {"192.0.2.9/32", "203.0.113.0/24"}}
    before = account()
    done = play("aws_access", ec2_access_action="list")
    assert f"alice: 192.0.2.9/32 to 22, 3000, 9090, 9093, 9100 since {TODAY}" in folded(done.stdout)
    assert account() == before


def test_grants_that_have_ended_are_removed_and_rules_of_others_are_not() -> None:
    def permission(network: str, description: str) -> dict[str, Any]:
        entry = {"CidrIp": network, "Description": description}
        return {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [entry]}

    old = permission("192.0.2.77/32", "miniweb: carol 2020-01-01 until 2020-02-01")
    foreign = permission("192.0.2.88/32", "the monitoring of our company")
    client("ec2").authorize_security_group_ingress(GroupId=group(GROUP)["GroupId"], IpPermissions=[old, foreign])
    assert succeeds("aws_access", ec2_access_expires_days=7) == "changed"
    until = (datetime.date.today() + datetime.timedelta(days=7)).isoformat()
    assert rules()["203.0.113.7/32", 22] == f"miniweb: alice {TODAY} until {until}"
    assert {network for network, dummy in rules()} == {"203.0.113.7/32", "192.0.2.88/32"}


@pytest.mark.parametrize(
    ("answers", "sentence"),
    [
        ({"/one": "<html>Welcome to the hotel</html>"}, 'answers "<html>Welcome to the hotel</html>", which is not an'),
        ({"/six": "Log in"}, 'answers "Log in", which is not an address'),
        ({"/one": "2001:db8::4"}, "answers 2001:db8::4, which is not an IPv4 address"),
        ({"/one": "192.0.2.1"}, "The services for your address contradict each other"),
    ],
)
def test_an_answer_that_is_no_address_changes_nothing(service: Any, answers: dict[str, str], sentence: str) -> None:
    service.answers.update(answers)
    refused("aws_access", sentence, **found_at(service))


def test_no_answer_changes_nothing() -> None:
    services = {"ec2_access_addresses": [], "ec2_access_ipv4_services": ["http://127.0.0.1:9"]}
    refused("aws_access", "No service returned your address", **services, ec2_access_ipv6_services=[])


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"ec2_access_addresses": ["0.0.0.0/0"]}, 'addresses: "0.0.0.0/0" lets practically everyone reach'),
        ({"ec2_access_allow_anywhere": True}, "set ec2_access_really_allow_anywhere as well"),
        ({"ec2_access_addresses": ["home"]}, 'addresses: "home" is not an address or network'),
        ({"ec2_access_operator": "a b"}, 'operator: "a b" cannot be used'),
        ({"ec2_name": "other"}, '0 security groups are called "other-production-administrators"'),
        ({"ec2_access_action": "open"}, 'ec2_access_action is "open": set it to list or grant or revoke or refresh.'),
    ],
)
def test_bad_access_is_refused_in_one_sentence(variables: dict[str, Any], sentence: str) -> None:
    refused("aws_access", sentence, **variables)


def test_access_for_everyone_takes_both_settings() -> None:
    twice = {"ec2_access_allow_anywhere": True, "ec2_access_really_allow_anywhere": True}
    assert succeeds("aws_access", ec2_access_addresses=["0.0.0.0/0"], **twice) == "changed"
    assert operators()["alice"] == {"0.0.0.0/0"}
    assert succeeds("aws_access") == "changed"


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"ec2_name": "Mini_Web"}, 'ec2_name, ec2_environment: "Mini_Web" and "production" must each be'),
        ({"ec2_distribution": "debian-12"}, 'ec2_distribution is "debian-12": set it to debian-13 or ubuntu-24.04.'),
        ({"ec2_volume_size_gb": 2}, "ec2_volume_size_gb: 2 GB are too small"),
        ({"ec2_admin_ports": [22, 443]}, "ec2_public_ports, ec2_admin_ports: 80, 443 and 22, 443 must be"),
        ({"ec2_public_key": "ssh-dss AAAA"}, 'ec2_public_key: "ssh-dss AAAA" is no public key that EC2 takes'),
        (
            {"ec2_instance_type": "t3.medium"},
            "the server is a t3.small, not a t3.medium; change it with playbooks/aws_resize",
        ),
        ({"ec2_volume_size_gb": "40"}, "ec2_volume_size_gb: the server's volume has 20 GB, not 40; grow it with"),
        ({"ec2_environment": "test", "ec2_instance_type": "t9.huge"}, 'instance_type: "t9.huge" does not exist in eu-'),
        ({"ec2_environment": "test", "ec2_image_id": "ami-00000000000debian3"}, "has no image for x86_64"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(variables: dict[str, Any], sentence: str) -> None:
    refused("aws_provision", sentence, **variables)


def test_credentials_that_are_missing_are_named() -> None:
    home = {
        "HOME": str(EPHEMERAL),
        "AWS_ACCESS_KEY_ID": "",
        "AWS_SECRET_ACCESS_KEY": "",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    refused("aws_provision", "AWS credentials are missing: set AWS_PROFILE", environment=home)


def test_a_region_that_is_missing_is_named() -> None:
    refused(
        "aws_provision",
        "The AWS region is missing: set AWS_REGION",
        environment={"HOME": str(EPHEMERAL), "AWS_REGION": ""},
    )


SSO = """\
[profile acme]
sso_session = acme
sso_account_id = 123456789012
sso_role_name = admin
region = eu-central-1
[sso-session acme]
sso_start_url = https://acme.example.com/start
sso_region = eu-central-1
"""


@pytest.mark.parametrize("playbook", ["aws_provision", "aws_access", "aws_resize", "aws_destroy"])
def test_an_sso_login_that_has_expired_is_named(playbook: str, tmp_path: Path) -> None:
    (tmp_path / "config").write_text(SSO)
    environment = {"HOME": str(tmp_path), "AWS_CONFIG_FILE": str(tmp_path / "config"), "AWS_PROFILE": "acme"}
    environment |= NO_KEYS
    refused(playbook, "The AWS SSO login has expired, or there has been none: run `aws sso login` for", environment)


@pytest.mark.parametrize("what", ["subnets", "network"])
def test_a_region_without_a_default_network_is_named(what: str) -> None:
    region = {"subnets": "ca-central-1", "network": "sa-east-1"}[what]
    ec2 = boto3.client("ec2", region_name=region, aws_access_key_id="observer", aws_secret_access_key="observer")
    for subnet in ec2.describe_subnets()["Subnets"]:
        ec2.delete_subnet(SubnetId=subnet["SubnetId"])
    if what == "network":
        ec2.delete_vpc(VpcId=ec2.describe_vpcs()["Vpcs"][0]["VpcId"])
    sentence = "ec2_subnet_id: this region has no default VPC with a default subnet; give the ID of a subnet"
    refused("aws_provision", sentence, environment={"AWS_REGION": region})
    assert ec2.describe_key_pairs()["KeyPairs"] == []


def test_a_new_server_is_made_in_a_zone_that_has_its_type() -> None:
    one = {"ec2_environment": "one", "ec2_private_key_file": str(EPHEMERAL / "one"), "ec2_instance_type": "g5g.2xlarge"}
    one |= {"ec2_image_id": "ami-00000000000debian3"}
    filters = [{"Name": "availability-zone", "Values": ["eu-central-1a"]}]
    subnet = client("ec2").describe_subnets(Filters=filters)["Subnets"][0]["SubnetId"]
    sentence = "eu-central-1a has no g5g.2xlarge; choose another type, or a subnet in eu-central-1c."
    refused("aws_provision", sentence, ec2_subnet_id=subnet, **one)
    assert succeeds("aws_provision", **one) == "changed"
    (made,) = (server for server in instances() if tags(server)["Environment"] == "one")
    assert made["Placement"]["AvailabilityZone"] == "eu-central-1c"
    assert succeeds("aws_destroy", ec2_environment="one", ec2_confirm="miniweb-one") == "changed"


def test_an_endpoint_that_does_not_answer_is_named() -> None:
    nowhere = {"AWS_ENDPOINT_URL": "http://127.0.80.4:5", "AWS_MAX_ATTEMPTS": "1"}
    refused("aws_access", "No answer from http://127.0.80.4:5/: the region in it does not exist", environment=nowhere)


@pytest.mark.parametrize(
    ("call", "code", "sentence"),
    [
        ("DescribeInstances", "UnauthorizedOperation", "AWS does not permit DescribeInstances with these credentials"),
        ("DescribeInstances", "RequestExpired", "AWS does not accept the credentials (RequestExpired)"),
    ],
)
def test_what_aws_refuses_is_said_in_one_sentence(refuses: Any, call: str, code: str, sentence: str) -> None:
    refuses(**{call: code})
    done = play("aws_provision")
    assert done.returncode != 0
    assert sentence in folded(done.stdout)


def test_the_type_is_changed_and_address_and_data_stay(refuses: Any) -> None:
    before, (address,) = instances()[0], client("ec2").describe_addresses()["Addresses"]
    refuses(ModifyInstanceAttribute="UnauthorizedOperation")
    done = play("aws_resize", ec2_instance_type="t3.medium")
    refuses()
    assert done.returncode != 0
    assert (
        "AWS refuses ModifyInstanceAttribute, and the module does not say why: most often it is missing from the policy"
        in folded(done.stdout)
    )
    assert instances()[0]["State"]["Name"] == "running"
    assert succeeds("aws_resize", "--check", ec2_instance_type="t3.medium") == "changed"
    assert instances()[0]["InstanceType"] == "t3.small"
    assert succeeds("aws_resize", ec2_instance_type="t3.medium") == "changed"
    (after,) = instances()
    assert (after["InstanceId"], after["InstanceType"], after["State"]["Name"]) == (
        before["InstanceId"],
        "t3.medium",
        "running",
    )
    assert after["BlockDeviceMappings"] == before["BlockDeviceMappings"]
    assert client("ec2").describe_addresses()["Addresses"] == [address]
    assert succeeds("aws_resize", ec2_instance_type="t3.medium") == "unchanged"
    assert succeeds("aws_resize") == "changed"


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"ec2_instance_type": "t9.huge"}, 'instance_type: "t9.huge" does not exist in eu-central-1'),
        ({"ec2_instance_type": "f2.6xlarge"}, "eu-central-1a, the server's zone, has no f2.6xlarge; choose another"),
        ({"ec2_instance_type": "t4g.small"}, "t4g.small is arm64, and what is installed on the server is x86_64"),
        ({"ec2_environment": "test"}, "there is no server miniweb-test; create it with playbooks/aws_provision.yml"),
    ],
)
def test_a_type_that_does_not_suit_is_refused(variables: dict[str, Any], sentence: str) -> None:
    refused("aws_resize", sentence, **variables)


def test_drift_is_repaired() -> None:
    before, ec2, public = account(), client("ec2"), group(f"{NAME}-public")["GroupId"]
    opened = [{"IpProtocol": "tcp", "FromPort": 8080, "ToPort": 8080, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
    closed = [{"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
    ec2.authorize_security_group_ingress(GroupId=public, IpPermissions=opened)
    ec2.revoke_security_group_ingress(GroupId=public, IpPermissions=closed)
    ec2.delete_key_pair(KeyName=ec2.describe_key_pairs()["KeyPairs"][0]["KeyName"])
    ec2.stop_instances(InstanceIds=[instances()[0]["InstanceId"]])
    assert succeeds("aws_provision") == "changed"
    assert account() == before
    assert set(rules(f"{NAME}-public")) == {(network, port) for network in ("0.0.0.0/0", "::/0") for port in (80, 443)}


def test_another_key_is_not_taken_for_the_servers() -> None:
    private, public = KEY.read_bytes(), KEY.with_suffix(".pub").read_bytes()
    KEY.unlink()
    KEY.with_suffix(".pub").unlink()
    refused("aws_provision", f"in {KEY}, and yours would be a new one in {KEY}; use the former key")
    assert not KEY.exists()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(KEY)], check=True)
    refused("aws_provision", "ec2_private_key_file: the server was made with the key pair miniweb-production-")
    KEY.write_bytes(private)
    KEY.with_suffix(".pub").write_bytes(public)
    assert succeeds("aws_provision") == "unchanged"


def test_what_was_left_half_finished_is_finished_by_the_next_run(refuses: Any) -> None:
    staging = {"ec2_environment": "staging", "ec2_private_key_file": str(EPHEMERAL / "staging")}
    refuses(AllocateAddress="AddressLimitExceeded")
    done = play("aws_provision", **staging)
    assert done.returncode != 0
    assert "A quota of the AWS account is exhausted (AddressLimitExceeded of AllocateAddress" in folded(done.stdout)
    refuses()
    assert succeeds("aws_provision", **staging) == "changed"
    assert succeeds("aws_provision", **staging) == "unchanged"
    assert len(instances()) == len(client("ec2").describe_addresses()["Addresses"]) == 2


def test_environments_do_not_see_each_other() -> None:
    done = ansible("ansible-inventory", "--inventory", str(ROOT / "inventory" / "aws_ec2.yml"), "--list")
    hosts = json.loads(done.stdout)
    assert list(hosts["_meta"]["hostvars"]) == [NAME]
    assert hosts["environment_production"]["hosts"] == [NAME]


@pytest.mark.parametrize("answer", ["", "miniweb", "miniweb-staging"])
def test_nothing_is_deleted_without_its_name(answer: str) -> None:
    refused("aws_destroy", f'ec2_confirm: "{answer}" is not miniweb-production', ec2_confirm=answer)


def test_a_snapshot_that_is_left_is_named(refuses: Any) -> None:
    volume = instances()[0]["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    marks = [{"Key": "Project", "Value": "miniweb"}, {"Key": "Environment", "Value": "production"}]
    marks += [{"Key": "ManagedBy", "Value": "miniweb.stack"}]
    specification = [{"ResourceType": "snapshot", "Tags": marks}]
    snapshot = client("ec2").create_snapshot(VolumeId=volume, TagSpecifications=specification)["SnapshotId"]
    refuses(ReleaseAddress="UnauthorizedOperation")
    assert play("aws_destroy", ec2_confirm=NAME).returncode != 0
    refuses()
    done = play("aws_destroy", ec2_confirm=NAME)
    assert done.returncode != 0
    assert f"This is left of {NAME} and may cost money: snapshot {snapshot}; run this again" in folded(done.stdout)
    client("ec2").delete_snapshot(SnapshotId=snapshot)


def test_a_removed_server_leaves_nothing_and_the_other_environment_alone() -> None:
    done = play("aws_destroy", ec2_confirm=NAME)
    assert done.returncode == 0
    assert f"There is nothing of {NAME} in this account and region." in folded(done.stdout)
    assert [tags(server)["Environment"] for server in instances()] == ["staging"]
    assert succeeds("aws_destroy", ec2_environment="staging", ec2_confirm="miniweb-staging") == "changed"
    assert account()[:3] == ([], [], [])


def test_the_policy_permits_what_is_called_and_nothing_else() -> None:
    policy = json.loads((ROOT / "roles" / "ec2" / "files" / "iam-policy.json").read_text())
    permitted = {action for statement in policy["Statement"] for action in statement["Action"]}
    assert permitted == {call for call in CALLS.read_text().split() if re.fullmatch(r"\w+:\w+", call)}
