// What the app imports as `./wmill` in tests: the exports and the errors of the file that Windmill generates. Jobs are
// answered by the test (window.answer). As on Windmill, a failed job rejects with its stack alone, and one that could
// not be started is never answered, or when `window.late` says. Of the scripts in `window.lost` the page learns nothing,
// as when the network is gone; of those in `window.cut` the wait breaks off; those in `window.unended` still run then.
// The wait for those in `window.seldom` looks for the first time after so many milliseconds.
type Answer = { result?: unknown; error?: { name: string; message: string; extra?: object } }
declare global {
  interface Window {
    answer(id: string, args: object): Promise<string>
    unanswered?: string[]
    late?: Promise<void>
    lost?: string[]
    cut?: string[]
    unended?: string[]
    seldom?: Record<string, number>
  }
}

const jobs = new Map<string, { script: string; answer: Promise<Answer> }>()
let count = 0

export const backendAsync: any = new Proxy(
  {},
  {
    get: (_, id: string) => async (args: object) => {
      const answer = window.answer(id, args ?? {}).then((text): Answer => JSON.parse(text))
      const job = `job-${++count}`
      jobs.set(job, { script: id, answer })
      if (window.unanswered?.includes(id)) await (window.late ?? new Promise(() => {}))
      return job
    },
  },
)
async function read(id: string): Promise<Answer> {
  const { script, answer } = jobs.get(id)!
  if (window.lost?.includes(script)) throw new TypeError('Failed to fetch')
  return answer
}

export async function waitJob(id: string): Promise<unknown> {
  const answer = await read(id)
  const { script } = jobs.get(id)!
  const pause = window.seldom?.[script]
  if (pause) await new Promise((resolve) => setTimeout(resolve, pause))
  if (window.cut?.includes(script) || window.unended?.includes(script)) throw new TypeError('Failed to fetch')
  if (answer.error) throw new Error(`Traceback (most recent call last):\n  main()\n${answer.error.name}`)
  return answer.result
}

export async function getJob(id: string) {
  const answer = await read(id)
  if (window.unended?.includes(jobs.get(id)!.script)) return { type: 'QueuedJob', id, running: true }
  return { type: 'CompletedJob', id, success: !answer.error, result: answer.error ? { error: answer.error } : answer.result }
}
