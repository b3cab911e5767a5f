"""Instances behind a load balancer: what is created in the account, and that an instance configures itself."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import hypervisor
from helpers.aws import CALLS, EPHEMERAL, REFUSALS, ansible, client, play, succeeds
from helpers.playbooks import folded
from helpers.server import ROOT, TEST_VARS
from helpers.web import curl, status
from sandbox.engine import docker

NAME = "miniweb-production"
CONFIRMED = {"ec2_confirm": NAME}
PASSWORD = "a password of the database"
ADMIN_PASSWORD = "a password of the administrator"
# Longer than a parameter may be
PUBLIC = {"not_secret": "x" * 5000}
SECRET_KEY = "a secret key that all instances share"
ADDRESS = "127.0.80.6"
IMAGES = ("docker_insecure_registries", "flask_app_base_image", "nginx_image")
ENDPOINT = urllib.parse.urlsplit(os.environ["AWS_ENDPOINT_URL"])


@pytest.fixture(scope="module", autouse=True)
def database() -> Iterator[str]:
    with hypervisor.database(PASSWORD) as address:
        yield address


@pytest.fixture(scope="module")
def choices(database: str) -> dict[str, Any]:
    """What a user decides: where the database is, which certificate visitors see, and here the sandbox's images."""
    key, certificate = EPHEMERAL / "key.pem", EPHEMERAL / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=www.example.com"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    imported = client("acm").import_certificate(Certificate=certificate.read_bytes(), PrivateKey=key.read_bytes())
    used = yaml.safe_load(TEST_VARS.read_text())
    return {
        "ec2_autoscale_certificate_arn": imported["CertificateArn"],
        "miniweb_database_host": database,
        "mysql_password": PASSWORD,
        "flask_app_secrets": [
            {"name": "secret_key", "content": SECRET_KEY},
            {"name": "admin_password", "content": ADMIN_PASSWORD},
        ],
        "ec2_autoscale_public_variables": PUBLIC,
        "miniweb_instance_variables": {name: used[name] for name in IMAGES if name in used},
    }


def group() -> dict[str, Any]:
    return client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"][0]


def template() -> dict[str, Any]:
    """The latest version of the launch template."""
    ec2 = client("ec2")
    versions = ec2.describe_launch_template_versions(LaunchTemplateName=NAME, Versions=["$Latest"])
    return versions["LaunchTemplateVersions"][0]["LaunchTemplateData"]


def user_data() -> str:
    return base64.b64decode(template()["UserData"]).decode()


def account() -> dict[str, list[str]]:
    """Names of everything that a run could create."""
    ec2, balancing, scaling, iam = client("ec2"), client("elbv2"), client("autoscaling"), client("iam")
    alive = [{"Name": "instance-state-name", "Values": ["pending", "running"]}]
    reservations = ec2.describe_instances(Filters=alive)["Reservations"]
    groups = [one["GroupName"] for one in ec2.describe_security_groups()["SecurityGroups"]]
    return {
        "instances": sorted(one["InstanceId"] for reservation in reservations for one in reservation["Instances"]),
        "security groups": sorted(name for name in groups if name != "default"),
        "launch templates": [one["LaunchTemplateName"] for one in ec2.describe_launch_templates()["LaunchTemplates"]],
        "balancers": [one["LoadBalancerName"] for one in balancing.describe_load_balancers()["LoadBalancers"]],
        "target groups": [one["TargetGroupName"] for one in balancing.describe_target_groups()["TargetGroups"]],
        "scaling": [one["AutoScalingGroupName"] for one in scaling.describe_auto_scaling_groups()["AutoScalingGroups"]],
        "roles": [one["RoleName"] for one in iam.list_roles()["Roles"] if not one["Path"].startswith("/aws-service")],
        "profiles": [one["InstanceProfileName"] for one in iam.list_instance_profiles()["InstanceProfiles"]],
        "parameters": [one["Name"] for one in client("ssm").describe_parameters()["Parameters"]],
        "buckets": [one["Name"] for one in client("s3").list_buckets()["Buckets"]],
    }


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"miniweb_database_host": "mysql"}, '"mysql" is a database on the instance itself, and every instance would'),
        ({"miniweb_database_host": "127.0.0.1"}, '"127.0.0.1" is a database on the instance itself'),
        ({"ec2_autoscale_certificate_arn": "mine"}, 'certificate_arn: "mine" is not the ARN of a certificate'),
        ({"ec2_autoscale_min_size": 5}, "ec2_autoscale_cpu_percent: 5, 4 and 50; give at least 1"),
        ({"ec2_environment": "a-rather-long-environment-name"}, "must have 32 at the most"),
        ({"miniweb_instance_variables": {"much": "x" * 4000}}, "3800 fit into a parameter, so give long values"),
        ({"ec2_autoscale_subnet_ids": ["one"]}, "a load balancer needs subnets of one VPC in at least two"),
        ({"ec2_instance_type": "t9.huge"}, 'instance_type: "t9.huge" does not exist in eu-central-1'),
    ],
)
def test_bad_input_is_refused_before_anything_is_created(
    choices: dict[str, Any], variables: dict[str, Any], sentence: str
) -> None:
    if "ec2_autoscale_subnet_ids" in variables:
        variables = {"ec2_autoscale_subnet_ids": [client("ec2").describe_subnets()["Subnets"][0]["SubnetId"]]}
    done = play("aws_autoscale", **{**choices, **variables})
    assert done.returncode != 0
    assert sentence in folded(done.stdout)
    assert not any(account().values())


def test_check_mode_creates_nothing(choices: dict[str, Any]) -> None:
    assert succeeds("aws_autoscale", "--check", **choices) == "changed"
    assert not any(account().values())


def test_what_was_left_half_finished_is_finished_by_the_next_run(choices: dict[str, Any]) -> None:
    REFUSALS.write_text(json.dumps({"CreateAutoScalingGroup": "UnauthorizedOperation"}))
    done = play("aws_autoscale", **choices)
    REFUSALS.unlink()
    assert done.returncode != 0
    assert "AWS does not permit CreateAutoScalingGroup with these credentials" in folded(done.stdout)
    assert succeeds("aws_autoscale", **choices) == "changed"
    assert group()["AutoScalingGroupName"] == NAME


def test_a_second_run_changes_nothing(choices: dict[str, Any]) -> None:
    before = account()
    assert succeeds("aws_autoscale", **choices) == "unchanged"
    assert succeeds("aws_autoscale", "--check", **choices) == "unchanged"
    assert account() == before


def test_visitors_come_over_https_only(choices: dict[str, Any]) -> None:
    balancing = client("elbv2")
    (balancer,) = balancing.describe_load_balancers()["LoadBalancers"]
    assert (balancer["Scheme"], len(balancer["AvailabilityZones"])) == ("internet-facing", 3)
    listeners = balancing.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"]
    plain, secure = sorted(listeners, key=lambda listener: listener["Port"])
    assert plain["DefaultActions"][0]["RedirectConfig"]["Protocol"] == "HTTPS"
    assert secure["Certificates"][0]["CertificateArn"] == choices["ec2_autoscale_certificate_arn"]
    assert secure["DefaultActions"][0]["Type"] == "forward"


def test_only_instances_that_are_ready_get_requests() -> None:
    (targets,) = client("elbv2").describe_target_groups()["TargetGroups"]
    assert (targets["HealthCheckProtocol"], targets["HealthCheckPath"]) == ("HTTPS", "/readyz")
    assert group()["TargetGroupARNs"] == [targets["TargetGroupArn"]]
    assert group()["HealthCheckType"] == "ELB"
    health = client("elbv2").describe_target_health(TargetGroupArn=targets["TargetGroupArn"])
    registered = {target["Target"]["Id"] for target in health["TargetHealthDescriptions"]}
    assert registered == {instance["InstanceId"] for instance in group()["Instances"]}


def test_the_number_of_instances_follows_the_load() -> None:
    assert (group()["MinSize"], group()["MaxSize"], len(group()["Instances"])) == (2, 4, 2)
    (policy,) = client("autoscaling").describe_policies()["ScalingPolicies"]
    target = policy["TargetTrackingConfiguration"]
    assert target["PredefinedMetricSpecification"]["PredefinedMetricType"] == "ASGAverageCPUUtilization"
    assert target["TargetValue"] == 50


def test_only_the_balancer_reaches_the_instances() -> None:
    groups = client("ec2").describe_security_groups()["SecurityGroups"]
    rules = {one["GroupName"]: one["IpPermissions"] for one in groups}
    balancer = next(one["GroupId"] for one in groups if one["GroupName"] == f"{NAME}-balancer")
    (rule,) = rules[f"{NAME}-instances"]
    assert (rule["FromPort"], rule["ToPort"], rule["IpRanges"]) == (443, 443, [])
    assert [pair["GroupId"] for pair in rule["UserIdGroupPairs"]] == [balancer]
    assert {rule["FromPort"] for rule in rules[f"{NAME}-balancer"]} == {80, 443}


def test_secrets_are_encrypted_and_only_the_instances_role_reads_them() -> None:
    (parameter,) = client("ssm").describe_parameters()["Parameters"]
    assert parameter["Type"] == "SecureString"
    assert not re.search(f"{PASSWORD}|{SECRET_KEY}|{ADMIN_PASSWORD}", user_data())
    (bucket,) = account()["buckets"]
    assert all(client("s3").get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values())
    policy = client("iam").get_role_policy(RoleName=f"{NAME}-instance", PolicyName="configuration")["PolicyDocument"]
    allowed = {(statement["Action"], statement["Resource"].rpartition(":")[2]) for statement in policy["Statement"]}
    assert allowed == {("s3:GetObject", f"{bucket}/*"), ("ssm:GetParameter", f"parameter/{NAME}/variables")}


def test_an_instance_is_as_safe_as_a_server() -> None:
    assert template()["MetadataOptions"]["HttpTokens"] == "required"
    assert template()["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
    assert template()["BlockDeviceMappings"][0]["Ebs"]["Encrypted"] is True
    assert "KeyName" not in template()


def test_the_source_that_instances_get_holds_no_secrets_and_no_sandbox(tmp_path: Path) -> None:
    (bucket,) = account()["buckets"]
    (entry,) = client("s3").list_objects_v2(Bucket=bucket)["Contents"]
    client("s3").download_file(bucket, entry["Key"], str(tmp_path / "source.tar.gz"))
    listed = subprocess.run(["tar", "-tzf", "source.tar.gz"], cwd=tmp_path, capture_output=True, text=True, check=True)
    below = {name.split("/")[3] for name in listed.stdout.splitlines()}
    assert below == {
        *("ansible.cfg", "files", "galaxy.yml", "group_vars", "inventory", "meta", "playbooks", "plugins", "roles"),
        "site.yml",
    }
    assert "host_vars" not in listed.stdout
    public = "ansible_collections/miniweb/stack/inventory/group_vars/all/ec2_autoscale.json"
    words = ["tar", "-xzOf", "source.tar.gz", public]
    assert json.loads(subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True).stdout) == PUBLIC


def test_an_instance_configures_itself(choices: dict[str, Any], tmp_path: Path) -> None:
    identifier = group()["Instances"][0]["InstanceId"]
    environment = {"AWS_ENDPOINT_URL": f"http://{hypervisor.gateway()}:{ENDPOINT.port}"}
    environment |= dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "observer")
    options = hypervisor.surroundings(tmp_path, **environment)
    seed = hypervisor.seed(identifier, user_data=user_data())
    with (
        hypervisor.relay(str(ENDPOINT.hostname), int(ENDPOINT.port or 80)),
        hypervisor.instance("ec2_autoscale", tmp_path, ADDRESS, seed, *options),
    ):
        said = subprocess.run(
            ["docker", "exec", hypervisor.NAME, "sh", "-c", "cloud-init status --wait --long"],
            capture_output=True,
            text=True,
            check=False,
        )
        log = docker("exec", hypervisor.NAME, "tail", "--lines", "300", "/var/log/cloud-init-output.log")
        assert said.returncode == 0, said.stdout + log

        assert status(f"https://{ADDRESS}/readyz") == "200"
        user = {"name": "Test", "email": "t@example.com", "username": "tester", "password": "a long password"}
        login = ["--user", f"admin:{ADMIN_PASSWORD}"]
        words = [*login, "--header", "Content-Type: application/json", "--data", json.dumps(user)]
        assert status(*words, f"https://{ADDRESS}/api/users") == "201"
        assert "tester" in curl(*login, f"https://{ADDRESS}/api/users")
        count = ["mysql", "--user=miniwebapp", f"--password={PASSWORD}", "miniwebapp", "-BNe"]
        assert (
            docker("exec", hypervisor.DATABASE, *count, "SELECT username FROM users WHERE role = 'viewer'") == "tester"
        )

        running = docker("exec", hypervisor.NAME, "docker", "ps", "--format", "{{.Names}}").split()
        assert sorted(running) == ["miniweb-app-app-1", "miniweb-nginx-nginx-1"]
        assert docker("exec", hypervisor.NAME, "stat", "-c", "%a", "/opt/miniweb-instance") == "700"


def test_a_new_version_replaces_every_instance(choices: dict[str, Any]) -> None:
    before = {instance["InstanceId"] for instance in group()["Instances"]}
    assert (
        succeeds("aws_autoscale", **choices, flask_app_environment={"SAMPLE_USERS": "true"}, ec2_autoscale_min_size=3)
        == "changed"
    )
    after = group()["Instances"]
    assert before.isdisjoint(instance["InstanceId"] for instance in after)
    assert len(after) == 3
    assert {instance["LaunchTemplate"]["Version"] for instance in after} == {group()["LaunchTemplate"]["Version"]}


def test_the_single_servers_playbooks_do_not_take_them_for_theirs() -> None:
    keys = {"AWS_ACCESS_KEY_ID": "observer", "AWS_SECRET_ACCESS_KEY": "observer"}
    done = ansible("ansible-inventory", "--inventory", str(ROOT / "inventory" / "aws_ec2.yml"), "--list", **keys)
    assert json.loads(done.stdout)["_meta"]["hostvars"] == {}
    before = account()
    assert succeeds("aws_destroy", **CONFIRMED) == "unchanged"
    assert account() == before


def test_nothing_is_removed_without_its_name() -> None:
    before = account()
    done = play("aws_autoscale_destroy", ec2_confirm="miniweb")
    assert done.returncode != 0
    assert f'ec2_confirm: "miniweb" is not {NAME}' in folded(done.stdout)
    assert succeeds("aws_autoscale_destroy", "--check", **CONFIRMED) == "changed"
    assert account() == before


def test_removal_leaves_nothing_and_says_so() -> None:
    done = play("aws_autoscale_destroy", **CONFIRMED)
    assert done.returncode == 0
    assert f"Nothing of {NAME}'s scaling group is left in AWS." in folded(done.stdout)
    assert not any(account().values())
    assert succeeds("aws_autoscale_destroy", **CONFIRMED) == "unchanged"


def test_the_policy_permits_what_is_called_and_nothing_else() -> None:
    policy = json.loads((ROOT / "roles" / "ec2_autoscale" / "files" / "iam-policy.json").read_text())
    statements = {statement["Sid"]: set(statement["Action"]) for statement in policy["Statement"]}
    # Only AWS checks these, not the double: tags on creation, the role passed to an instance, and service-linked roles.
    unseen = statements.pop("CheckedWithoutACall")
    assert {action.split(":")[1] for action in unseen} == {
        *(
            "AddTagsToResource",
            "CreateOrUpdateTags",
            "CreateServiceLinkedRole",
            "CreateTags",
            "PassRole",
            "RunInstances",
        ),
        *("TagInstanceProfile", "TagRole"),
    }
    permitted = set().union(*statements.values())
    assert permitted == {call for call in CALLS.read_text().splitlines() if re.fullmatch(r"[\w-]+:\w+", call)}
