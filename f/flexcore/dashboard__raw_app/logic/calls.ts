// Calls of the scripts behind the page: a result, or a CallError that says what is wrong and what to do.
// Windmill's `backend.x` rejects with the stack alone and never answers when the job could not even be started, so a
// call here is start, wait and, after a failure, a look at the job for the typed error; each with a limit of its own.
import { backendAsync, getJob, waitJob } from '../wmill'

const START_TIMEOUT_S = 30
const READ_TIMEOUT_S = 120
/** Actions wait for what they start: a roll back until the version before answers. */
export const ACTION_TIMEOUT_S = 660

export type CallProblem = { name: string; message: string; category: string | null; remedy: string | null }

export class CallError extends Error implements CallProblem {
  category: string | null
  remedy: string | null

  constructor(problem: CallProblem) {
    super(problem.message)
    this.name = problem.name
    this.category = problem.category
    this.remedy = problem.remedy
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

async function failureOf(job: string, rejected: unknown): Promise<CallError> {
  const fallback = rejected instanceof Error ? rejected.message.split('\n')[0]! : String(rejected)
  try {
    return new CallError(problemOfResult((await getJob(job)).result, fallback))
  } catch {
    return new CallError(problemOfResult(null, fallback))
  }
}

/** Run the script `id` with the rights of whoever looks, and return its result. */
export async function call<T>(id: string, args: Record<string, unknown>, timeoutS = READ_TIMEOUT_S): Promise<T> {
  const start = backendAsync[id]
  if (!start) throw new CallError(notDeployed(id))
  let job: string
  try {
    job = await withTimeout(start(args), START_TIMEOUT_S, notStarted(id))
  } catch (error) {
    if (error instanceof CallError) throw error
    const message = error instanceof Error ? error.message : String(error)
    throw new CallError({ ...notStarted(id), message: `${id} was not started: ${message.split('\n')[0]}` })
  }
  try {
    return (await withTimeout(waitJob(job), timeoutS, notFinished(id, job, timeoutS))) as T
  } catch (error) {
    throw error instanceof CallError ? error : await failureOf(job, error)
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
})
