// What the app's sources import as `./wmill`, for a page of its own: the exports, results and errors of the file that
// Windmill generates, over the REST API of the server that the page came from (Windmill's, or the engine's).
//
// Windmill's raw apps ask the page around them, which has a session. Here whoever looks brings a key: in the address
// that `flexcore dashboard` prints (#key=…), or typed in. It is kept for this origin alone and sent as a header, so no
// other page can use it.

type Settings = { workspace: string; user: string; runnables: Record<string, string>; sign_in: string }
type Job = { type: 'QueuedJob' | 'CompletedJob'; id: string; success: boolean; args: any; result: any; [field: string]: any }
type StreamUpdate = { new_result_stream?: string; stream_offset?: number }

const KEY = 'flexcore-key'
// Jobs of the dashboard take about a second: asked for closely at first, then ever less often.
const WAITS: [until_ms: number, wait_ms: number][] = [[3_000, 40], [60_000, 500], [Infinity, 2_000]]
const MAX_FAILED_POLLS = 5

const settings: Settings = JSON.parse(document.querySelector<HTMLMetaElement>('meta[name=flexcore]')!.content)
Object.assign(window, { ctx: { username: settings.user, workspace: settings.workspace } })
takeKeyFromAddress()

function takeKeyFromAddress() {
	const found = /^#key=([^&]+)&?(.*)$/.exec(location.hash)
	if (!found) return
	localStorage.setItem(KEY, decodeURIComponent(found[1]))
	// Neither a bookmark nor a link that is sent shall hold it.
	history.replaceState(history.state, '', location.pathname + location.search + (found[2] ? `#${found[2]}` : ''))
}

let asked: Promise<void> | undefined

// The key, from whoever looks. One form however many calls wait for it.
function askForKey(why: string): Promise<void> {
	asked ??= new Promise<void>((resolve) => {
		const form = document.querySelector<HTMLFormElement>('#sign-in')!
		const dialog = form.closest('dialog')!
		const input = form.querySelector('input')!
		form.querySelector('output')!.value = why
		form.onsubmit = (event) => {
			event.preventDefault()
			localStorage.setItem(KEY, input.value.trim())
			input.value = ''
			asked = undefined
			dialog.close()
			resolve()
		}
		dialog.showModal()
	})
	return asked
}

async function call(path: string, body?: object): Promise<Response> {
	for (;;) {
		const key = localStorage.getItem(KEY)
		if (!key) {
			await askForKey('')
			continue
		}
		const answer = await fetch(`/api/w/${encodeURIComponent(settings.workspace)}/${path}`, {
			method: body ? 'POST' : 'GET',
			headers: { Authorization: `Bearer ${key}`, ...(body && { 'Content-Type': 'application/json' }) },
			body: body && JSON.stringify(body),
			cache: 'no-store'
		})
		if (answer.ok) return answer
		if (answer.status !== 401) throw new Error((await answer.text()) || `${answer.status} ${answer.statusText}`)
		// Another tab may have signed in meanwhile.
		if (localStorage.getItem(KEY) === key) await askForKey('The server does not accept this key.')
	}
}

async function start(runnable: string, args: object | undefined): Promise<string> {
	const path = settings.runnables[runnable]
	if (!path) throw new Error(`No runnable found for ${runnable}`)
	return (await call(`jobs/run/p/${path}`, args ?? {})).text()
}

function calls(run: (runnable: string, args?: object) => Promise<any>): any {
	return new Proxy({}, { get: (_, runnable: string) => (args?: object) => run(runnable, args) })
}

export const backend = calls(async (runnable, args) => waitJob(await start(runnable, args)))

export const backendAsync = calls(start)

/** The result of a job, once it has ended. Rejects with the error of one that failed, as Windmill's page does. */
export async function waitJob(id: string): Promise<any> {
	const since = Date.now()
	for (let failed = 0; ; ) {
		const job = await call(`jobs_u/completed/get_result_maybe/${encodeURIComponent(id)}`)
			.then((answer) => answer.json())
			.catch((error) => {
				if (++failed >= MAX_FAILED_POLLS) throw error
			})
		if (job) failed = 0
		if (job?.completed) {
			const error = !job.success && job.result && typeof job.result === 'object' && job.result.error
			if (error) throw new Error(error.stack ?? error.message)
			return job.result
		}
		const [, wait] = WAITS.find(([until]) => Date.now() - since < until)!
		await new Promise((resolve) => setTimeout(resolve, wait))
	}
}

export async function getJob(id: string): Promise<Job> {
	return (await call(`jobs_u/get/${encodeURIComponent(id)}`)).json()
}

/** Nothing of the dashboard streams its result; what a job ends with comes as of `waitJob`. */
export function streamJob(id: string, _onUpdate?: (update: StreamUpdate) => void): Promise<any> {
	return waitJob(id)
}
