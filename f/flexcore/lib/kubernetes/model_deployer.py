# requirements: flexcore_kubernetes
"""The objects of a deployed model on one cluster: stored, rolled out, and undone when that fails.

look (refuse what is not ours) → rehearse (the server's own dry run of everything) → Deployment (its owner-to-be comes
first, paused when something must exist before its pods) → Secret, ConfigMap → Deployment as it shall be → Service →
rollout → verification → autoscaler, disruption budget → what is asked for no longer goes
A first deployment that fails is removed; an update that fails is put back, and its pods before kept answering.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from f.flexcore.lib.core import errors, identity
from f.flexcore.lib.kubernetes import autoscaler, cluster_objects, competitors, isolation, revisions, serving_manifests
from f.flexcore.lib.kubernetes_api import field_owners

Object = dict[str, Any]
Verified = TypeVar("Verified")

DEPLOYMENTS, REPLICA_SETS = cluster_objects.DEPLOYMENTS, cluster_objects.REPLICA_SETS
SERVICES, SECRETS, CONFIG_MAPS = cluster_objects.SERVICES, cluster_objects.SECRETS, cluster_objects.CONFIG_MAPS
AUTOSCALERS, SCALED_OBJECTS = cluster_objects.AUTOSCALERS, cluster_objects.SCALED_OBJECTS
BUDGETS = cluster_objects.BUDGETS
# As many as the client keeps connections.
MAX_CONCURRENT_QUESTIONS = 8


@dataclass(slots=True)
class Plan:
    """What is to be stored and what is there. scaler: the kind that scales, if one does; before: our objects as they
    are, with all that we hold of them held by Apply; changed: what was stored since, by the order of it."""

    serving: serving_manifests.Serving
    scaler: cluster_objects.Kind | None
    is_scaled_by_others: bool
    before: dict[cluster_objects.Kind, Object]
    changed: list[cluster_objects.Kind] = field(default_factory=list)

    @property
    def has_replicas(self) -> bool:
        """Whether the number of copies is ours to say."""
        return self.scaler is None and not self.is_scaled_by_others

    def make_deployment(self, annotations: dict[str, str]) -> Object:
        body = serving_manifests.make_deployment(self.serving)
        if not self.has_replicas:
            del body["spec"]["replicas"]
        body["metadata"]["annotations"] = annotations
        if before := self.before.get(DEPLOYMENTS):
            serving_manifests.keep_cost_labels(body["spec"]["template"], before["spec"]["template"])
        return body

    def make_scaler(self, owner: Object | None) -> Object:
        metadata = serving_manifests.make_metadata(self.serving, self.serving.name, owner)
        make = autoscaler.make_autoscaler if self.scaler == AUTOSCALERS else autoscaler.make_scaled_object
        return make(self.serving.scaling, metadata)

    def make_budget(self, owner: Object | None) -> Object:
        metadata = serving_manifests.make_metadata(self.serving, self.serving.name, owner)
        return autoscaler.make_budget(self.serving.scaling, metadata, self.serving.selector())

    def trial_marks(self) -> dict[str, str]:
        """The annotations of a Deployment that has yet to answer: what it was before."""
        before = self.before.get(DEPLOYMENTS)
        notes = (before["metadata"].get("annotations") or {}) if before else {identity.ON_TRIAL: "true"}
        return {name: notes[name] for name in (identity.ON_TRIAL, serving_manifests.GOOD_ROLLOUTS) if name in notes}

    def make_bodies(self) -> list[tuple[cluster_objects.Kind, Object]]:
        """All that is to be stored but the ConfigMap, whose name nobody else has; owners are left out."""
        serving = self.serving
        return [
            (DEPLOYMENTS, self.make_deployment(self.trial_marks())),
            *isolation.make_companions(serving, None),
            (SERVICES, serving_manifests.make_service(serving, None)),
            *([(self.scaler, self.make_scaler(None))] if self.scaler else []),
            *([(BUDGETS, self.make_budget(None))] if serving.scaling.has_budget else []),
        ]

    def needs(self, kind: cluster_objects.Kind) -> bool:
        """Whether it cannot do without the right to see and to store such an object."""
        if kind == BUDGETS:
            return self.serving.scaling.max_unavailable is not None
        return kind == self.scaler or kind not in (AUTOSCALERS, SCALED_OBJECTS)

    def names(self) -> dict[cluster_objects.Kind, str]:
        """Of what is wanted or may be there, but for the ConfigMap, which is named by its content."""
        serving = self.serving
        own = [
            cluster_objects.SERVICE_ACCOUNTS,
            *([cluster_objects.NETWORK_POLICIES] if serving.network_policy else []),
        ]
        kinds = [DEPLOYMENTS, *own, SERVICES, AUTOSCALERS, BUDGETS, *([self.scaler] if self.scaler else [])]
        names = dict.fromkeys(kinds, serving.name)
        return names | ({SECRETS: serving.secret_name} if serving.delivery.secret else {})


@dataclass(slots=True)
class Deployer(cluster_objects.Namespace):
    """One deployed model on one cluster. scaled_by: the kind of object that says how many copies there are,
    "another" for what is not ours, "" for the Deployment itself."""

    log_tail: str = ""
    scaled_by: str = ""

    # --- deploy

    def deploy(self, serving: serving_manifests.Serving, verify: Callable[[Object, Object], Verified]) -> Verified:
        """What `verify` returns for the rolled out Deployment and its Service. Raises the typed error of whatever
        prevents it; error.details.undone then says what became of what was there."""
        try:
            plan = self.look(serving)
            self.rehearse(plan)
        except errors.FlexcoreError as error:
            error.details["undone"] = "nothing was changed"
            raise
        self.scaled_by = plan.scaler.kind if plan.scaler else "another" if plan.is_scaled_by_others else ""
        until = self.clock() + serving.timeout_s
        is_rolled_out = False
        try:
            stored = self._store_server(plan)
            service = self._store(plan, SERVICES, serving_manifests.make_service(serving, stored))
            deployment = self._roll_out(stored, until)
            is_rolled_out = True
            verified = verify(deployment, service)
            self._store_scaling(plan, deployment)
            self._end_trial(plan)
        except errors.FlexcoreError as error:
            # A cluster that does not answer says nothing about the model: another try goes on from here.
            if not error.retryable or error.details.get("diagnosis"):
                self._undo(plan, error, is_rolled_out)
            raise
        self._prune(plan)
        return verified

    def look(self, serving: serving_manifests.Serving) -> Plan:
        """Raises InvalidInput or Conflict when one of the names is somebody else's, or the cluster cannot scale so."""
        competitors.check_kserve(self, serving.name)
        scaler = autoscaler.choose_kind(serving.scaling, self)
        plan = Plan(serving, scaler, False, {})
        for kind, item in self._read_all(plan).items():
            self.check_ours(kind, item)
            plan.before[kind] = item
        competitors.check_rollouts(self, serving.name)
        plan.is_scaled_by_others = competitors.check_autoscalers(self, serving.name, is_ours=scaler is not None)
        if (deployment := plan.before.get(DEPLOYMENTS)) and competitors.is_shifted(self, deployment):
            plan.is_scaled_by_others = True
        for kind, item in plan.before.items():
            plan.before[kind] = self.adopt_all(kind, item, plan.has_replicas)
        return plan

    def _read_all(self, plan: Plan) -> dict[cluster_objects.Kind, Object]:
        """What has one of the names, asked for at once: a distant API server takes its time for each."""
        names = plan.names()
        with ThreadPoolExecutor(MAX_CONCURRENT_QUESTIONS) as pool:
            items = pool.map(lambda kind: self._get_visible(kind, names[kind], plan.needs(kind)), names)
            return {kind: item for kind, item in zip(names, items, strict=True) if item}

    def _get_visible(self, kind: cluster_objects.Kind, name: str, is_needed: bool) -> Object | None:
        """None also for what may not be read where it is not needed."""
        try:
            return self.get(kind, name)
        except errors.Forbidden:
            if is_needed:
                raise
            return None

    def rehearse(self, plan: Plan) -> None:
        """Has the server check all that is to be stored, and changes nothing: rights, quota, admission, fields that
        others hold. Raises what storing it would raise."""
        with ThreadPoolExecutor(MAX_CONCURRENT_QUESTIONS) as pool:
            # The first that is refused, in this order, is the one that is raised.
            for _ in pool.map(lambda pair: self._rehearse(plan, *pair), plan.make_bodies()):
                continue

    def _rehearse(self, plan: Plan, kind: cluster_objects.Kind, body: Object) -> None:
        before = plan.before.get(kind)
        if before is not None and (owners := before["metadata"].get("ownerReferences")):
            body["metadata"]["ownerReferences"] = owners
        try:
            self.rehearse_one(kind, body, before)
        except errors.Forbidden:
            if plan.needs(kind):
                raise

    def _roll_out(self, stored: Object, until: float) -> Object:
        # A deployment that is refused rolls nothing out.
        from f.flexcore.lib.kubernetes import rollout

        observer = rollout.RolloutObserver(self.kubernetes, self.namespace, self.report, self.clock)
        try:
            return observer.run(stored, until)
        finally:
            self.log_tail = observer.log_tail

    # --- store

    def _store(self, plan: Plan, kind: cluster_objects.Kind, body: Object) -> Object:
        plan.changed.append(kind)
        return self.store(kind, body)

    def _store_server(self, plan: Plan) -> Object:
        serving, owner = plan.serving, plan.before.get(DEPLOYMENTS)
        marks = plan.trial_marks()
        if owner is None:
            paused = plan.make_deployment(marks)
            # Something may scale it once it answers; it begins with as many copies as there shall be at least.
            paused["spec"] |= {"paused": True, "replicas": serving.replicas}
            owner = self._store(plan, DEPLOYMENTS, paused)
            self.report(f"Created Deployment {serving.name} in namespace {self.namespace}")
        else:
            self.report(f"Updating Deployment {serving.name} in namespace {self.namespace}")
        for kind, companion in isolation.make_companions(serving, owner):
            self._store(plan, kind, companion)
        self.store_map(serving_manifests.make_config_map(serving, owner), owner["metadata"]["uid"])
        if plan.scaler is None:
            # First: it would go on writing the number of copies, which is ours now.
            self._remove_scalers(plan)
        return self._store(plan, DEPLOYMENTS, plan.make_deployment(marks))

    def _store_scaling(self, plan: Plan, owner: Object) -> None:
        if plan.scaler:
            self._remove_scalers(plan)
            self._store(plan, plan.scaler, plan.make_scaler(owner))
        if not plan.serving.scaling.has_budget:
            return
        try:
            self._store(plan, BUDGETS, plan.make_budget(owner))
        except errors.Forbidden as error:
            if plan.needs(BUDGETS):
                raise
            self.report(f"No disruption budget: {error}")

    def _remove_scalers(self, plan: Plan) -> None:
        """Takes away what scaled before and shall no longer."""
        kinds = [AUTOSCALERS, *([SCALED_OBJECTS] if self.serves(SCALED_OBJECTS) else [])]
        for kind in kinds:
            if kind == plan.scaler or (kind == AUTOSCALERS and kind not in plan.before):
                continue
            item = self._get_visible(kind, plan.serving.name, is_needed=False)
            if item is None or not cluster_objects.is_ours(item):
                continue
            plan.before[kind] = self.adopt_all(kind, item, plan.has_replicas)
            plan.changed.append(kind)
            if not self.remove(kind, item):
                raise errors.Unavailable(
                    f"{kind.kind} {plan.serving.name} is being deleted and stays"
                    f" (finalizers: {', '.join(item['metadata'].get('finalizers') or ['none'])})",
                    subject="max_replicas",
                    remedy="See why: kubectl describe. Then run again.",
                )

    def _end_trial(self, plan: Plan) -> None:
        """Marks what has answered as good: it outlives its run, and a later failure goes back to it."""
        body = plan.make_deployment({})
        digest = body["spec"]["template"]["metadata"]["labels"][serving_manifests.ROLLOUT]
        body["metadata"]["annotations"] = serving_manifests.mark_good(plan.before.get(DEPLOYMENTS), digest)
        self._store(plan, DEPLOYMENTS, body)

    # --- undo

    def _undo(self, plan: Plan, error: errors.FlexcoreError, is_rolled_out: bool) -> None:
        """Puts back what answered before, or takes the failed beginning away; says which in the error."""
        self.undo(f"Deployment {plan.serving.name}", error, lambda: self._roll_back(plan, is_rolled_out))

    def _roll_back(self, plan: Plan, is_rolled_out: bool) -> str:
        item, before = self.get(DEPLOYMENTS, plan.serving.name), plan.before.get(DEPLOYMENTS)
        if item is None:
            return "gone"
        is_same = before is not None and (DEPLOYMENTS not in plan.changed or revisions.is_last_good(item))
        template = revisions.find_rollback_template(item, self.list_objects(REPLICA_SETS), not is_rolled_out)
        if before is None or (template is None and not is_same):
            return "removed: nothing was served before" if self.remove(DEPLOYMENTS, item) else "marked for removal"
        for kind in dict.fromkeys(reversed(plan.changed)):
            if kind != DEPLOYMENTS:
                self._put_back(plan, kind)
        if DEPLOYMENTS in plan.changed:
            body = field_owners.extract_applied(before)
            # What a step that has died left half-way is not what answered.
            if (
                template
                and not is_same
                and revisions.read_digest(template) != revisions.read_digest(before["spec"]["template"])
            ):
                body["spec"]["template"] = template
            if plan.has_replicas and "replicas" not in body["spec"]:
                # Given back to what scales it with as many copies as it had, not with those of the failed update.
                copies = {"replicas": before["spec"]["replicas"]}
                self.store(DEPLOYMENTS, {**body, "spec": {**body["spec"], **copies}})
            self.store(DEPLOYMENTS, body)
        return "as it was before" if is_same else "rolled back to the version before"

    def _put_back(self, plan: Plan, kind: cluster_objects.Kind) -> None:
        if before := plan.before.get(kind):
            self.store(kind, field_owners.extract_applied(before))
        elif item := self.get(kind, plan.names()[kind]):
            self.remove(kind, item)

    def _prune(self, plan: Plan) -> None:
        """Removes what is asked for no longer, and the ConfigMaps of generations that are not kept. A failure is only
        reported."""
        try:
            if BUDGETS in plan.before and not plan.serving.scaling.has_budget:
                self.remove(BUDGETS, plan.before[BUDGETS])
            secret = None if SECRETS in plan.names() else self.get(SECRETS, plan.serving.secret_name)
            if secret and cluster_objects.is_ours(secret):
                self.remove(SECRETS, secret)
            isolation.remove_policy(self, plan.serving)
            self._prune_maps(plan.serving)
        except errors.FlexcoreError as error:
            self.report(f"Something of an earlier deployment stays: {error}")

    def _prune_maps(self, serving: serving_manifests.Serving) -> None:
        """The older generations that the Deployment keeps can be gone back to, so theirs are kept, too."""
        kept = {serving.config_map_name}
        for item in self.list_objects(REPLICA_SETS, f"{serving_manifests.INSTANCE}={serving.name}"):
            volumes = item["spec"]["template"]["spec"].get("volumes") or ()
            kept |= {volume["configMap"]["name"] for volume in volumes if "configMap" in volume}
        self.remove_maps(f"{serving_manifests.INSTANCE}={serving.name}", kept)
