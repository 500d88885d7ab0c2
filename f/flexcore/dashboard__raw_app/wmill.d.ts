// What Windmill generates for this app when it is bundled (types only; the module itself is put in by the bundler).
type Call<T> = (args: Record<string, unknown>) => Promise<T>
export declare const backend: Record<string, Call<any>>
export declare const backendAsync: Record<string, Call<string>>
export type Job = {
  type: 'QueuedJob' | 'CompletedJob'
  id: string
  running?: boolean
  success?: boolean
  result?: any
}
export declare function waitJob(id: string): Promise<any>
export declare function getJob(id: string): Promise<Job>
