#!/usr/bin/python3
"""Checks what deploy/ says of containers, clusters and services against the programs and against itself, without a network.

  check_deploy.py SOURCES PROGRAMS [PART]...    prints each mistake; exit status 1 if there is one

A part is images, compose, kubernetes or systemd, a folder of deploy/. Needs python3-yaml; `kubectl` where it is installed, to build the overlays.
"""
import json
import os
import re
import shutil
import subprocess
import sys

import yaml

sources, programs = sys.argv[1:3]
parts = sys.argv[3:] or ["images", "compose", "kubernetes", "systemd"]
deploy = os.path.join(sources, "deploy")
mistakes = []


def mistake(where, what):
    mistakes.append(f"{where}: {what}")


class Loader(yaml.SafeLoader):
    """Refuses a key that stands twice."""


def mapping(loader, node, deep=False):
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
    for key in keys:
        if keys.count(key) > 1:
            raise yaml.constructor.ConstructorError(None, None, f"'{key}' stands twice", node.start_mark)
    loader.flatten_mapping(node)
    return yaml.SafeLoader.construct_mapping(loader, node, deep)


Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)


def read(*path):
    with open(os.path.join(deploy, *path), encoding="utf-8") as file:
        return file.read()


def read_yaml(*path):
    return yaml.load(read(*path), Loader)


# ---- command lines, as the programs themselves read them ----

def config_keys():
    listed = subprocess.run([os.path.join(programs, "stagecoach"), "train", "--help-config"], capture_output=True, text=True, check=True)
    keys, section = set(), ""
    for line in listed.stdout.splitlines():
        if line[:1] != " ":
            section = line.rstrip(":")
        else:
            keys.add(section + "." + line.split()[0])
    return keys


CONFIG_KEYS = config_keys()


def check_command(where, argv):
    """Every option is one that the program knows: --help behind them is reached."""
    if argv[3:4] in (["/usr/libexec/stagecoach/make-keys.sh"], ["/usr/libexec/stagecoach/put-key.sh"], ["sh"]):
        return  # scripts, which e2e_deploy.sh runs
    for program in ("stagecoach", "stagecoach-worker"):
        if program in argv:
            at = argv.index(program)
            break
    else:
        return mistake(where, f"no program of ours in {argv}")
    for script in argv[:at]:
        if script.startswith("/usr/libexec/stagecoach/") and not os.path.exists(
                os.path.join(deploy, "images", os.path.basename(script))):
            mistake(where, f"{script} is in no image")
    arguments = argv[at + 1:]
    ran = subprocess.run([os.path.join(programs, program), *arguments, "--help"], capture_output=True, text=True)
    if ran.returncode != 0:
        mistake(where, f"{program} {' '.join(arguments)}: {ran.stderr.strip()}")
    for argument in arguments:
        key = re.match(r"(?:--set=)?([a-z]+\.[a-z_0-9]+)=", argument)
        if key and key[1] not in CONFIG_KEYS:
            mistake(where, f"the config has no key {key[1]}")


# ---- images ----

def check_images():
    text = read("images", "Dockerfile")
    images, stage = {}, None
    for line in re.sub(r"\\\n", " ", text).splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            base, _, stage = rest.partition(" AS ")
            known = base in images or base == "scratch" or re.fullmatch(r"\$\{(BASE|CUDA)\}", base)
            if not known:
                mistake("Dockerfile", f"no stage or base is called {base}")
            images[stage] = {"base": base, "lines": []}
        elif stage:
            images[stage]["lines"].append((word, rest))
            source = re.search(r"--from=(\S+)", rest)
            if word == "COPY" and source and source[1] not in images:
                mistake("Dockerfile", f"{stage} copies from {source[1]}, which is not there")
            elif word == "COPY" and not source:
                for path in rest.split()[:-1]:
                    if not os.path.exists(os.path.join(sources, path)):
                        mistake("Dockerfile", f"{stage} copies {path}, which is not there")
            elif word == "RUN" and "root.sh" in rest:
                images[stage]["packages"] = set(rest.split("root.sh", 1)[1].split())
    for name in ("coordinator", "worker", "worker-cuda"):
        lines = dict(images[name]["lines"])
        for word in ("USER", "ENTRYPOINT", "HEALTHCHECK", "LABEL", "EXPOSE"):
            if word not in lines:
                mistake("Dockerfile", f"{name} has no {word}")
        if lines.get("USER", "").startswith(("0", "root")):
            mistake("Dockerfile", f"{name} runs as root")
        entrypoint, healthcheck = (json.loads(lines[word][lines[word].index("["):]) for word in ("ENTRYPOINT", "HEALTHCHECK"))
        if entrypoint[0] != "tini":
            mistake("Dockerfile", f"{name} is not under tini")
        check_command(f"Dockerfile: {name}", entrypoint)
        check_command(f"Dockerfile: {name}", healthcheck)
        images[name]["entrypoint"] = entrypoint
    # Every library that a program names is in a package that its image installs.
    for program, root in (("stagecoach", "coordinator-root"), ("stagecoach-worker", "worker-root")):
        linked = subprocess.run(["ldd", os.path.join(programs, program)], capture_output=True, text=True).stdout
        where = dict(re.findall(r"(\S+) => (\S+)", linked))
        headers = subprocess.run(["objdump", "-p", os.path.join(programs, program)], capture_output=True, text=True).stdout
        for library in re.findall(r"NEEDED\s+(\S+)", headers):
            if re.match(r"lib(c|m|gcc_s|stdc\+\+|gomp|zmq|asan|ubsan|tsan|pthread|dl|rt)\.|ld-linux", library):
                continue  # the base's, or of a package that needs another of the image's
            found = subprocess.run(["dpkg", "-S", os.path.realpath(where[library])], capture_output=True, text=True).stdout or \
                subprocess.run(["dpkg", "-S", where[library].replace("/lib/", "/usr/lib/", 1)], capture_output=True, text=True).stdout
            if found.split(":")[0] not in images[root]["packages"]:
                mistake("Dockerfile", f"{root} lacks {found.split(':')[0] or library}, which {program} needs")
    return images


# ---- compose ----

def substitute(value):
    """Variables become their defaults, as compose does; one that is required becomes an address."""
    if isinstance(value, dict):
        return {key: substitute(item) for key, item in value.items()}
    if isinstance(value, list):
        return [substitute(item) for item in value]
    if not isinstance(value, str):
        return value
    value = re.sub(r"\$\{STAGECOACH_COORDINATOR:\?[^}]*\}", "tcp://192.0.2.1:5555", value)
    value = re.sub(r"\$\{\w+:\?[^}]*\}", "192.0.2.2", value)
    value = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)
    if re.search(r"(?<!\$)\$\{?\w", value):
        mistake("compose", f"a variable without a default in {value}")
    return value


def check_compose(images):
    stages = set(images)
    files = {name: substitute(read_yaml("compose", name)) for name in
             ("compose.yaml", "compose.coordinator.yaml", "compose.worker.yaml", "compose.gpu.yaml")}
    for name, file in files.items():
        under = files["compose.yaml"] if name in ("compose.coordinator.yaml", "compose.gpu.yaml") else {"services": {}}
        declared = {**under["services"], **file["services"]}, {**under.get("volumes", {}), **file.get("volumes", {})}
        for service_name, service in file["services"].items():
            where = f"{name}: {service_name}"
            if name == "compose.gpu.yaml" and service_name not in under["services"]:
                mistake(where, "there is no such service to lie over")
            target = service.get("build", {}).get("target")
            if target and target not in stages:
                mistake(where, f"the Dockerfile has no target {target}")
            if service_name in under["services"]:
                continue  # what it lies over is checked
            for key, wanted in (("read_only", True), ("cap_drop", ["ALL"]), ("security_opt", ["no-new-privileges:true"])):
                if service.get(key) != wanted:
                    mistake(where, f"{key} is not {wanted}")
            if service_name in ("coordinator", "worker") and ("stop_grace_period" not in service or "restart" not in service):
                mistake(where, "no stop_grace_period, or no restart")
            for other, how in service.get("depends_on", {}).items():
                if other not in declared[0]:
                    mistake(where, f"depends on {other}, which is not there")
                elif how["condition"] not in ("service_started", "service_healthy", "service_completed_successfully"):
                    mistake(where, f"'{how['condition']}' is no condition")
            for volume in service.get("volumes", []):
                source = volume["source"] if isinstance(volume, dict) else volume.split(":")[0]
                if source.startswith("."):
                    path = os.path.normpath(os.path.join(deploy, "compose", source))
                    if not os.path.exists(path):
                        mistake(where, f"{source} is not there")
                elif source not in declared[1]:
                    mistake(where, f"the volume {source} is not declared")
            if target:
                entrypoint = service.get("entrypoint", images[target]["entrypoint"])
                check_command(where, entrypoint + service.get("command", []))


# ---- Kubernetes ----

def labels_match(selector, labels):
    return all(labels.get(key) == value for key, value in selector.items())


def check_pod(where, pod, names, stages):
    security = pod.get("securityContext", {})
    if not security.get("runAsNonRoot") or security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        mistake(where, "pods must not run as root, and under the runtime's seccomp profile")
    if pod.get("automountServiceAccountToken") is not False:
        mistake(where, "no service account's token is needed")
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for container in pod["containers"]:
        secure = container.get("securityContext", {})
        if not secure.get("readOnlyRootFilesystem") or secure.get("allowPrivilegeEscalation") is not False or \
                secure.get("capabilities") != {"drop": ["ALL"]}:
            mistake(where, f"{container['name']} is not confined")
        if "readinessProbe" not in container or "resources" not in container:
            mistake(where, f"{container['name']} has no readinessProbe, or no resources")
        image = container["image"].split(":")[0].removeprefix("stagecoach-")
        if image not in stages:
            mistake(where, f"the Dockerfile makes no {container['image']}")
        else:
            argv = container.get("command", stages[image]["entrypoint"]) + container.get("args", [])
            check_command(where, [item.replace("$(POD_IP)", "192.0.2.2") for item in argv])
        for probe in ("readinessProbe", "livenessProbe", "startupProbe"):
            if probe in container:
                check_command(f"{where}: {probe}", container[probe]["exec"]["command"])
        variables = {item["name"] for item in container.get("env", [])}
        for used in re.findall(r"\$\((\w+)\)", json.dumps(container)):
            if used not in variables:
                mistake(where, f"$({used}) is not set")
        for mount in container.get("volumeMounts", []):
            if mount["name"] not in volumes and mount["name"] not in names["claims"]:
                mistake(where, f"mounts {mount['name']}, which is no volume")
    for volume in volumes.values():
        for kind, key in (("configMap", "name"), ("secret", "secretName")):
            name = volume.get(kind, {}).get(key)
            if name and name not in names[kind]:
                mistake(where, f"the {kind} {name} is made nowhere")


def check_cluster(overlay, documents, stages):
    made = re.findall(r"^manifest (\w+) (\S+)", read("kubernetes", "keys.sh"), re.M)
    names = {"configMap": {name for kind, name in made if kind == "ConfigMap"},
             "secret": {name for kind, name in made if kind == "Secret"}, "claims": set()}
    names["configMap"] |= {item["metadata"]["name"] for item in documents if item["kind"] == "ConfigMap"}
    sets = {item["metadata"]["name"]: item for item in documents if item["kind"] == "StatefulSet"}
    services = {item["metadata"]["name"]: item for item in documents if item["kind"] == "Service"}
    pods = {name: item["spec"]["template"] for name, item in sets.items()}
    for name, item in sets.items():
        where, spec = f"{overlay}: {name}", item["spec"]
        if spec["serviceName"] not in services:
            mistake(where, f"no Service is called {spec['serviceName']}")
        if not labels_match(spec["selector"]["matchLabels"], pods[name]["metadata"]["labels"]):
            mistake(where, "the selector does not match the pods")
        names["claims"] = {claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates", [])}
        check_pod(where, pods[name]["spec"], names, stages)
        argv = pods[name]["spec"]["containers"][0]["args"]
        grace_ms = next((int(item.split("=")[1]) for item in argv if item.startswith("--grace-ms=")), 30000)
        if pods[name]["spec"]["terminationGracePeriodSeconds"] * 1000 < grace_ms + 5000:
            mistake(where, "terminationGracePeriodSeconds leaves no time for what a stop has to do")
        for endpoint in re.findall(r"--coordinator=tcp://([^:]+):(\d+)", " ".join(argv)):
            if endpoint[0] not in services or int(endpoint[1]) not in [port["port"] for port in services[endpoint[0]]["spec"]["ports"]]:
                mistake(where, f"no Service is at {endpoint[0]}:{endpoint[1]}")
    for name, item in services.items():
        matched = [pod for pod in pods.values() if labels_match(item["spec"]["selector"], pod["metadata"]["labels"])]
        if len(matched) != 1:
            mistake(f"{overlay}: {name}", f"selects the pods of {len(matched)} StatefulSets")
        for port in item["spec"]["ports"]:
            for pod in matched:
                if port["targetPort"] not in [one["name"] for one in pod["spec"]["containers"][0]["ports"]]:
                    mistake(f"{overlay}: {name}", f"the pods have no port {port['targetPort']}")
    workers = sets["stagecoach-worker"]["spec"]
    run = yaml.load(next(item for item in documents if item["kind"] == "ConfigMap")["data"]["run.yaml"], Loader)
    if workers["replicas"] < run["pipeline"]["workers"]:
        mistake(overlay, "fewer workers than the run's config has stages")
    for item in documents:
        selector = item["spec"].get("podSelector" if item["kind"] == "NetworkPolicy" else "selector") \
            if item["kind"] in ("NetworkPolicy", "PodDisruptionBudget") else None
        if selector and not any(labels_match(selector["matchLabels"], pod["metadata"]["labels"]) for pod in pods.values()):
            mistake(f"{overlay}: {item['kind']} {item['metadata']['name']}", "selects no pod")


def check_kubernetes(stages):
    for folder, _, files in os.walk(os.path.join(deploy, "kubernetes")):
        for file in files:
            if file.endswith(".yaml"):
                with open(os.path.join(folder, file), encoding="utf-8") as text:
                    list(yaml.load_all(text, Loader))
    if not shutil.which("kubectl"):
        base = [item for file in ("coordinator", "worker", "network") for item in
                yaml.load_all(read("kubernetes", "base", file + ".yaml"), Loader)]
        base.append({"kind": "ConfigMap", "metadata": {"name": "stagecoach-config"},
                     "data": {"run.yaml": read("kubernetes", "base", "run.yaml")}})
        print("kubectl is not installed: the overlays are not built, the base alone is checked")
        return check_cluster("base", base, stages)
    for overlay in ("cpu", "cuda", "spot"):
        built = subprocess.run(["kubectl", "kustomize", os.path.join(deploy, "kubernetes", "overlays", overlay)],
                               capture_output=True, text=True)
        if built.returncode != 0:
            mistake(overlay, built.stderr.strip())
        else:
            check_cluster(overlay, list(yaml.load_all(built.stdout, Loader)), stages)


# ---- systemd ----

def check_units():
    for unit in ("stagecoach.service", "stagecoach-worker@.service"):
        text = read("systemd", unit)
        argv = re.search(r"^ExecStart=(.*)$", text, re.M)[1].replace("${COORDINATOR}", "tcp://192.0.2.1:5555").split()
        argv = [os.path.basename(argv[0]), *[item for item in argv[1:] if item != "$OPTIONS"]]
        check_command(unit, argv)
        if not shutil.which("systemd-analyze"):
            continue
        said = subprocess.run(["systemd-analyze", "verify", "--man=no", os.path.join(deploy, "systemd", unit)],
                              capture_output=True, text=True).stderr
        for line in said.splitlines():
            if unit.split("@")[0].split(".")[0] in line and "is not executable" not in line:  # it need not be installed here
                mistake(unit, line)


stages = check_images()
if "compose" in parts:
    check_compose(stages)
if "kubernetes" in parts:
    check_kubernetes(stages)
if "systemd" in parts:
    check_units()
for text in mistakes:
    print(text)
sys.exit(1 if mistakes else 0)
