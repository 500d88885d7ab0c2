// Calls of the scripts behind the page: a result, or a CallError that says what is wrong and what to do.
// Windmill's `backend.x` rejects with the stack alone and never answers when the job could not even be started, so a
// call here is start, wait and, after a failure, a look at the job for the typed error; each with a limit of its own.
// A wait that fails is no failure of the job: what it came to is read from the job, or not known.
import { backendAsync, getJob, waitJob } from '../wmill'

const START_TIMEOUT_S = 30
const READ_TIMEOUT_S = 120
const FIRST_LOOK_MS = 600
const LOOK_INTERVAL_MS = 80
const LOOKS = 12
/** Actions wait for what they start: a roll back until the version before answers. */
export const ACTION_TIMEOUT_S = 660

/** job: one whose end is not known: it may still run, or have done what it was to do. */
export type CallProblem = { name: string; message: string; category: string | null; remedy: string | null; job?: string | null }

export class CallError extends Error implements CallProblem {
  category: string | null
  remedy: string | null
  job: string | null

  constructor(problem: CallProblem) {
    super(problem.message)
    this.name = problem.name
    this.category = problem.category
    this.remedy = problem.remedy
    this.job = problem.job ?? null
  }
}

/** A promise's value, or a CallError after `seconds`. */
export function withTimeout<T>(promise: Promise<T>, seconds: number, problem: CallProblem): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new CallError(problem)), seconds * 1000)
    promise.then(
      (value) => (clearTimeout(timer), resolve(value)),
      (error) => (clearTimeout(timer), reject(error)),
    )
  })
}

/** The typed error of a failed job's result, as Windmill stores it: `{ error: { name, message, extra } }`. */
export function problemOfResult(result: unknown, fallback: string): CallProblem {
  const error = (result as { error?: Record<string, unknown> } | null)?.error
  const extra = (error?.extra ?? {}) as Record<string, unknown>
  const text = (value: unknown) => (typeof value === 'string' && value ? value : null)
  return {
    name: text(error?.name) ?? 'Error',
    message: text(error?.message) ?? fallback,
    category: text(extra.category),
    remedy: text(extra.remedy),
  }
}

/** What a job came to whose wait was rejected: its result, or its typed error. */
async function endOf<T>(id: string, job: string, rejected: unknown): Promise<T> {
  const fallback = rejected instanceof Error ? rejected.message.split('\n')[0]! : String(rejected)
  let found: Awaited<ReturnType<typeof getJob>>
  try {
    found = await withTimeout(getJob(job), START_TIMEOUT_S, notKnown(id, job, fallback))
  } catch {
    throw new CallError(notKnown(id, job, fallback))
  }
  if (found.type === 'QueuedJob') throw new CallError(notKnown(id, job, fallback))
  if (found.success) return found.result as T
  throw new CallError(problemOfResult(found.result, fallback))
}

/** onStart: is told of the job, also when it is later than this waits. */
async function start(id: string, args: Record<string, unknown>, onStart?: (job: string) => void): Promise<string> {
  const begin = backendAsync[id]
  if (!begin) throw new CallError(notDeployed(id))
  try {
    const begun = begin(args)
    if (onStart) void begun.then(onStart, () => undefined)
    return await withTimeout(begun, START_TIMEOUT_S, notStarted(id))
  } catch (error) {
    if (error instanceof CallError) throw error
    const message = error instanceof Error ? error.message : String(error)
    throw new CallError({ ...notStarted(id), message: `${id} was not started: ${message.split('\n')[0]}` })
  }
}

/** What the job ends with, where it succeeds within the next second: Windmill's own wait looks each 50 ms at first, and
 * from 0.6 s on each 500, which is when a read ends. Everything else is left to that wait: this then never settles. */
async function lookBetween<T>(job: string, isOver: () => boolean): Promise<T> {
  for (let look = 0; look < LOOKS; look++) {
    await new Promise((resolve) => setTimeout(resolve, look ? LOOK_INTERVAL_MS : FIRST_LOOK_MS))
    if (isOver()) break
    const found = await getJob(job).catch(() => null)
    if (found?.type === 'CompletedJob' && found.success) return found.result as T
  }
  return new Promise(() => undefined)
}

async function follow<T>(id: string, job: string, timeoutS: number): Promise<T> {
  let isOver = false
  const end = Promise.race([waitJob(job) as Promise<T>, lookBetween<T>(job, () => isOver)])
  try {
    return await withTimeout(end.finally(() => (isOver = true)), timeoutS, notFinished(id, job, timeoutS))
  } catch (error) {
    if (error instanceof CallError) throw error
    return endOf(id, job, error)
  }
}

/** Run the script `id` with the rights of whoever looks, and return its result. */
export async function call<T>(id: string, args: Record<string, unknown>, timeoutS = READ_TIMEOUT_S): Promise<T> {
  return follow<T>(id, await start(id, args), timeoutS)
}

/** Jobs whose end is not known, by what they were to do. */
const open = new Map<string, string>()

/** As `call`, for what must not be done twice: while the end of the same call is not known, its job is followed and no
 * other one started. */
export async function callOnce<T>(id: string, args: Record<string, unknown>, timeoutS: number): Promise<T> {
  const what = JSON.stringify([id, args])
  const job = open.get(what) ?? (await start(id, args, (started) => open.set(what, started)))
  try {
    const result = await follow<T>(id, job, timeoutS)
    open.delete(what)
    return result
  } catch (error) {
    if (!(error instanceof CallError && error.job)) open.delete(what)
    throw error
  }
}

const notDeployed = (id: string): CallProblem => ({
  name: 'NotDeployed',
  message: `${id} is not part of this workspace`,
  category: null,
  remedy: 'Deploy the bundle and this page from the same version.',
})

const notStarted = (id: string): CallProblem => ({
  name: 'NotStarted',
  message: `${id} was not started within ${START_TIMEOUT_S} s`,
  category: null,
  remedy: `Check that the server answers and that you may run f/flexcore/dashboard/${id}.`,
})

const notFinished = (id: string, job: string, timeoutS: number): CallProblem => ({
  name: 'NotFinished',
  message: `${id} did not end within ${timeoutS} s (job ${job})`,
  category: null,
  remedy: 'Check that a worker serves its tag and is not busy with other work.',
  job,
})

const notKnown = (id: string, job: string, why: string): CallProblem => ({
  name: 'NotKnown',
  message: `What became of ${id} is not known: ${why} (job ${job})`,
  category: null,
  remedy: 'It may run, or have ended, all the same. Check that the server answers.',
  job,
})
