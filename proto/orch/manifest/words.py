"""Keys that people bring from other orchestrators, and what they are called here."""

from collections.abc import Iterable

from orch.manifest.problem import did_you_mean

_FAMILIAR = {
    "env": "environment",
    "extra_hosts": "extraHosts",
    "hostAliases": "extraHosts",
    "dns_search": "dns: {search: […]}",
    "dns_opt": "dns: {options: […]}",
    "dnsConfig": "dns",
    "args": "command",
    "cmd": "command",
    "livenessProbe": "liveness",
    "readinessProbe": "readiness",
    "startupProbe": "startup",
    "healthcheck": "readiness",
    "httpGet": "http",
    "tcpSocket": "tcp",
    "periodSeconds": "period",
    "timeoutSeconds": "timeout",
    "initialDelaySeconds": "initialDelay",
    "interval": "period",
    "start_period": "initialDelay",
    "retries": "failureThreshold",
    "workdir": "workingDir",
    "imagePullPolicy": "pullPolicy",
    "restartPolicy": "restart",
    "volumeMounts": "volumes",
    "mountPath": "target",
    "hostPath": "source",
    "containerPort": "target",
    "hostPort": "published",
    "strategy": "rollout",
    "update": "rollout",
    "update_config": "rollout",
    "updateStrategy": "rollout",
    "minReadySeconds": "rollout: {minReady: …}",
    "progressDeadlineSeconds": "rollout: {progressDeadline: …}",
    "revisionHistoryLimit": "rollout: {historyLimit: …}",
    "terminationGracePeriodSeconds": "stop: {gracePeriod: …}",
    "stop_grace_period": "stop: {gracePeriod: …}",
    "stop_signal": "stop: {signal: …}",
    "nodeSelector": "placement: {nodeSelector: …}",
    "tolerations": "placement: {tolerations: …}",
    "constraints": "placement: {constraints: …}",
    "canary": "rollout: {canary: …}",
    "cpus": "resources: {limits: {cpu: …}}",
    "mem_limit": "resources: {limits: {memory: …}}",
    "tmpfs": "volumes: [{type: tmpfs, target: …}]",
    "securityContext": "security",
    "security_opt": "security",
    "cap_add": "security: {capAdd: […]}",
    "cap_drop": "security: {capDrop: […]}",
    "capabilities": "capAdd",
    "add": "capAdd",
    "drop": "capDrop",
    "privileged": "security: {privileged: true}",
    "read_only": "security: {readOnly: true}",
    "readOnlyRootFilesystem": "readOnly",
    "allowPrivilegeEscalation": "noNewPrivileges",
    "seccompProfile": "seccomp",
    "userns_mode": "security: {userNamespace: …}",
    "hostUsers": "security: {userNamespace: …}",
    "runAsUser": "user",
    "sysctls": "security: {sysctls: …}",
    "shm_size": "shmSize",
    "stdin_open": "stdin",
    "stringData": "data",
    "name": "metadata: {name: …}",
    "namespace": "metadata: {namespace: …}",
    "labels": "metadata: {labels: …}",
}
_NOT_NEEDED = {
    "selector": "leave it out: a service owns its tasks",
    "template": "write the template's keys directly under spec",
    "deploy": "write replicas, resources and placement directly under spec",
    "services": "each service is a document of its own: kind: Service",
}


def hint_for(key: str, known: Iterable[str]) -> str:
    """What the user may have meant by a key that does not exist here."""
    known = list(known)
    if key in _NOT_NEEDED:
        return _NOT_NEEDED[key]
    familiar = _FAMILIAR.get(key, "")
    if familiar and (familiar in known or ": " in familiar):
        return f'did you mean "{familiar}"?' if familiar in known else f"write {familiar}"
    near = did_you_mean(key, known)
    return near or f"known here: {', '.join(known)}"
