// The shapes that the server's read answers with (lib/dashboard/shapes.py). Times are RFC 3339 UTC, durations seconds;
// null is "not measured". A part that was not asked for is null.

export const STATUSES = ['queued', 'running', 'suspended', 'success', 'failure', 'canceled', 'skipped'] as const
export type Status = (typeof STATUSES)[number]
export type StepStatus = Status | 'waiting'

export type Filter = { workflow?: string; runtime?: string; status?: Status; since?: string; until?: string }

export type Notice = { code: string; severity: 'info' | 'warning' | 'error'; message: string; remedy: string | null }

export type Row = {
  id: string
  workflow: string
  runtime: string | null // the one, null when they are several or none
  runtimes?: string[] // all that share the work
  status: Status
  created_at: string
  started_at: string | null
  ended_at: string | null
  duration_s: number | null
  created_by: string
  failed_step: string | null
  error: string | null
  rows: number | null
  cost: number | null
  currency: string | null
  source: 'windmill' | 'index'
}

export type Can = { allowed: boolean; reason: string | null }

// kept: stages or containers that a restart does not run again, where it resumes; else all of the workflow runs again
export type Restart = Can & { resumes?: boolean; kept?: string[] }

export type Problem = {
  name: string
  message: string
  step: string | null
  category: string | null
  subject: string | null
  remedy: string | null
  retryable: boolean | null
}

/** began_at: when the first of them that is known began; null where Windmill's clock measured them. */
export type Parts = { queued: number | null; starting: number | null; running: number | null; finishing: number | null; began_at: string | null }

export type StepEvent = { at: string | null; kind: string; message: string; cause: string | null }

export type Step = {
  id: string
  summary: string
  status: StepStatus
  runtime: string | null
  job: string | null
  attempt: number | null
  created_at: string | null
  started_at: string | null
  ended_at: string | null
  parts: Parts
  remote: { kind: string; name: string; uid: string | null; url: string | null } | null
  diagnosis: { category: string; detail: string; remedy: string } | null
  output: Record<string, unknown> | null
  events: StepEvent[]
  reused: boolean
  parent: string | null
}

export type Detail = {
  row: Row
  url: string | null
  request: Record<string, unknown> | null
  last_good: { id: string; request: Record<string, unknown> } | null
  steps: Step[]
  error: Problem | null
  result: unknown
  cut: boolean
  version: string | null
  trace?: { id: string; url: string | null } | null
  can: { cancel: Can; restart: Restart; debug_bundle: Can }
}

export type Runtime = {
  name: string
  resource: string | null
  healthy: boolean | null
  problem: string | null
  remedy: string | null
  capabilities: Record<string, unknown>
  free: Record<string, number | null>
  queue: number | null
  leases: { name: string; owner: string; until: string }[] | null // null: not known
  checked_at: string | null
}

export type RuntimeSummary = {
  runtime: string
  runs: number
  // Below: what an older read_dashboard does not say.
  samples?: number // runs that succeeded, which the durations stand on
  rows_samples?: number
  cost_samples?: number
  note?: string | null
  success_rate: number | null
  p50_s: number | null
  p95_s: number | null
  rows_per_s: number | null
  cost: number | null
  currency: string | null
}
export type Day = { day: string; runtime: string; runs: number; p50_s: number | null; p95_s: number | null }
export type Comparison = {
  workflow: string
  // Down to newest, and no_choice: what an older read_dashboard does not say.
  runs?: number
  since?: string | null
  until?: string | null
  newest?: number | null // so many executions that the run index does not have were read, and there are more
  recommendation: { runtime: string; reason: string } | null
  no_choice?: string | null // why nothing is recommended
  runtimes: RuntimeSummary[]
  days: Day[]
}

export type Candidate = {
  runtime: string
  allowed: boolean
  reason: string | null
  forecast_s: number | null
  forecast_cost: number | null
  score: number | null // probability of success
}
export type Selection = {
  execution: string
  at: string
  workflow: string
  chosen: string
  reasons: string[]
  candidates: Candidate[]
  forecast_s: number | null
  real_s: number | null
  forecast_cost: number | null
  real_cost: number | null
  currency: string | null
}

export type Deployment = {
  name: string
  namespace: string | null
  runtime: string
  resource: string | null
  url: string | null
  versions: {
    version: string
    weight: number | null // percent
    ready: boolean | null
    created_at: string | null
    run: string | null
  }[]
  revision: number | null // rises with each change of what answers
  former: string | null // the version that a roll back leads to
  former_revision: number | null
  can_roll_back: Can
}

export type Orphan = {
  runtime: string
  kind: string
  name: string
  uid: string | null
  owner: string | null
  since: string | null
  overdue_s: number | null
}

export type Stop = {
  id: string
  workflow: string
  at: string
  by: string
  reason: string
  canceled: string[]
  undone: { at: string; by: string } | null
}

export type Executions = {
  rows: Row[]
  workflows?: string[] // those that are deployed, with a whole first page
  removed: string[]
  older: string | null
  counts: Record<Status, number> | null
}

export type Server = {
  version: string | null
  url: string | null
  workspace: string
  user: string
  engine: 'windmill' | 'embedded'
}

export type Dashboard = {
  now: string
  version: string
  server: Server
  notices: Notice[]
  unread?: Record<string, string[]> // by part, the places that could not be read
  cursor: string
  full: boolean
  executions?: Executions | null
  execution?: Detail | null
  runtimes?: Runtime[] | null
  comparison?: Comparison[] | null
  selection?: Selection[] | null
  deployments?: Deployment[] | null
  orphans?: Orphan[] | null
  stops?: Stop[] | null
}

export type Logs = { lines: string[]; offset: number; next: number | null; total: number | null; live: boolean }
export type Bundle = { uri: string | null; file_name: string; base64: string | null }
