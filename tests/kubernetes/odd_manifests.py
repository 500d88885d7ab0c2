"""Job manifests of the kinds that tutorials and examples have, each with what is odd in it: (name, YAML, verdict or the
subject of the refusal). Written for this test, in their style."""

from __future__ import annotations

from textwrap import dedent

MANIFESTS: dict[str, tuple[str, str]] = {}


def add(name: str, expected: str, text: str) -> None:
    MANIFESTS[name] = (expected, dedent(text))


def job(pod: str, spec: str = "", metadata: str = "name: x") -> str:
    """A Job around the pod's lines."""
    head = f"apiVersion: batch/v1\nkind: Job\nmetadata: {{{metadata}}}\nspec:\n"
    middle = "".join(f"  {line}\n" for line in dedent(spec).strip().splitlines())
    return f"{head}{middle}  template:\n    spec:\n" + "".join(
        f"      {line}\n" for line in dedent(pod).strip().splitlines()
    )


PI = """
    restartPolicy: Never
    containers:
    - name: pi
      image: perl:5.34.0
      command: [perl, -Mbignum=bpi, -wle, 'print bpi(2000)']
"""
add("the pi of the documentation", "likely", job(PI, "backoffLimit: 4"))
add("an indexed worker", "likely", job(PI, "completions: 5\nparallelism: 3\ncompletionMode: Indexed"))
add(
    "limits per index",
    "likely",
    job(PI, "completions: 4\nparallelism: 2\ncompletionMode: Indexed\nbackoffLimitPerIndex: 1"),
)
add("no completions at all", "likely", job(PI, "parallelism: 0"))
add("a name that is generated", "likely", job(PI, metadata="generateName: run-"))
add(
    "a work queue with env of the downward API",
    "likely",
    job(
        """
        restartPolicy: OnFailure
        containers:
        - name: worker
          image: gcr.io/example/job-wq-1
          env:
          - {name: BROKER_URL, value: 'amqp://guest:guest@rabbitmq-service:5672'}
          - name: NODE
            valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
        """,
        "completions: 8\nparallelism: 2",
    ),
)
add(
    "a native sidecar before an init container",
    "likely",
    job(
        """
        restartPolicy: Never
        initContainers:
        - {name: logs, image: busybox, restartPolicy: Always, resources: {requests: {cpu: 500m}}}
        - {name: prepare, image: busybox, resources: {requests: {cpu: '2'}}}
        containers:
        - {name: main, image: busybox, resources: {requests: {cpu: '1'}}}
        """
    ),
)
add(
    "an init container larger than any node",
    "will not",
    job(
        """
        restartPolicy: Never
        initContainers:
        - {name: big, image: busybox, resources: {requests: {memory: 64Gi}}}
        containers:
        - {name: main, image: busybox}
        """
    ),
)
add(
    "a GPU of CUDA samples",
    "will not",
    job(PI.replace("command:", "resources: {limits: {nvidia.com/gpu: 1}}\n      command:")),
)
add("a Windows node", "will not", job("nodeSelector: {kubernetes.io/os: windows}\n" + dedent(PI)))
add("an arm image", "will not", job(PI.replace("perl:5.34.0", "arm64v8/perl:5.34.0")))
add("spot nodes of a cloud", "will not", job("nodeSelector: {cloud.google.com/gke-spot: 'true'}\n" + dedent(PI)))
add(
    "a toleration and a preferred node that nobody has",
    "likely",
    job(
        """
        tolerations: [{key: dedicated, operator: Equal, value: batch, effect: NoSchedule}]
        affinity:
          nodeAffinity:
            preferredDuringSchedulingIgnoredDuringExecution:
            - weight: 1
              preference: {matchExpressions: [{key: disktype, operator: In, values: [ssd]}]}
        """
        + dedent(PI).replace("\n", "\n        ")
    ),
)
add(
    "requests of whole nodes",
    "will not",
    job(PI.replace("command:", "resources: {requests: {cpu: '96'}}\n      command:")),
)
add(
    "a Postgres dump to a claim that is not there",
    "will not",
    job(
        """
        restartPolicy: OnFailure
        volumes:
        - {name: dump, persistentVolumeClaim: {claimName: backups}}
        containers:
        - name: pg-dump
          image: postgres:16
          command: [sh, -c, 'pg_dump > /dump/x.sql']
          volumeMounts: [{name: dump, mountPath: /dump}]
        """
    ),
)
add(
    "a claim template of devices that is not there",
    "will not",
    job(
        """
    restartPolicy: Never
    resourceClaims: [{name: gpu, resourceClaimTemplateName: single-gpu}]
    containers:
    - {name: main, image: busybox, resources: {claims: [{name: gpu}]}}
    """
    ),
)
add(
    "a host port", "likely", job(PI.replace("command:", "ports: [{containerPort: 80, hostPort: 8080}]\n      command:"))
)
add(
    "copies spread over nodes",
    "likely",
    job(
        """
        topologySpreadConstraints:
        - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule,
           labelSelector: {matchLabels: {app: load}}}
        """
        + dedent(PI).replace("\n", "\n        "),
        "parallelism: 4\ncompletions: 4",
    ),
)
add("a field of a newer version", "manifest.spec.template.spec.shareProcess", job("shareProcess: true\n" + dedent(PI)))
add(
    "a CronJob",
    "manifest.kind",
    "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: x}\nspec: {schedule: '* * * * *'}",
)
add(
    "memory in thousandths",
    "manifest.spec.template.spec.containers[0].resources.requests.memory",
    job(PI.replace("command:", "resources: {requests: {memory: 400m}}\n      command:")),
)
add("restartPolicy of a Deployment", "manifest.spec.template.spec.restartPolicy", job(PI.replace("Never", "Always")))
