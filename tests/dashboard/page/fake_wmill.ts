// What the app imports as `./wmill` in tests: the exports and the errors of the file that Windmill generates. Jobs are
// answered by the test (window.answer). As on Windmill, a failed job rejects with its stack alone, and one that could
// not be started is never answered.
type Answer = { result?: unknown; error?: { name: string; message: string; extra?: object } }
declare global {
  interface Window {
    answer(id: string, args: object): Promise<string>
    unanswered?: string[]
  }
}

const jobs = new Map<string, Promise<Answer>>()
let count = 0

export const backendAsync: any = new Proxy(
  {},
  {
    get: (_, id: string) => async (args: object) => {
      const answer = window.answer(id, args ?? {}).then((text): Answer => JSON.parse(text))
      const job = `job-${++count}`
      jobs.set(job, answer)
      if (window.unanswered?.includes(id)) await new Promise(() => {})
      return job
    },
  },
)
export async function waitJob(id: string): Promise<unknown> {
  const answer = await jobs.get(id)!
  if (answer.error) throw new Error(`Traceback (most recent call last):\n  main()\n${answer.error.name}`)
  return answer.result
}

export async function getJob(id: string) {
  const answer = await jobs.get(id)!
  return { type: 'CompletedJob', id, success: !answer.error, result: answer.error ? { error: answer.error } : answer.result }
}
