"""Keys and types of every kind of file that Windmill syncs.

Facts of Windmill 1.743's OpenFlow and OpenAPI descriptions and of its export, and of what CLI 1.819 adds. One line is
one record (or what follows it, indented): `key:type`, `key!:type` where the key must be there, `key~:type` for one that
only older files have. Types: str int num bool any; `x?` may also be null; `[x]` a list; `{x}` a mapping with free keys;
`'a|b'` one of these words; a capitalised word is another record. `Name = tag: word>Record …` chooses by `tag`'s value.
"""

from __future__ import annotations

LANGUAGES = (
    "deno|bun|bunnative|python3|go|bash|powershell|postgresql|mysql|bigquery|snowflake|mssql|oracledb|graphql"
    "|nativets|php|rust|ansible|csharp|nu|java|ruby|rlang|duckdb"
)

FLOW = f"""
Flow summary!:str description:str value!:FlowValue schema:{{any}}? tag:str? dedicated_worker:bool? timeout:int?
  visible_to_runner_only:bool? ws_error_handler_muted:bool? on_behalf_of_email:str? on_behalf_of:str?
  has_on_behalf_of:bool? labels:[str]? extra_perms:{{bool}}? draft_only~:bool? priority~:int?
FlowValue modules!:[FlowModule] failure_module:FlowModule? preprocessor_module:FlowModule? same_worker:bool?
  preserve_step_tags:bool? concurrent_limit:num? concurrency_key:str? concurrency_time_window_s:num?
  debounce_delay_s:int? debounce_key:str? debounce_args_to_accumulate:[str]? max_total_debouncing_time:int?
  max_total_debounces_amount:int? skip_expr:str? cache_ttl:num? cache_ignore_s3_path:bool? delete_after_secs:int?
  delete_after_use~:bool? flow_env:{{any}}? priority:num? early_return:str? chat_input_enabled:bool? notes:[FlowNote]?
  groups:[FlowGroup]?
FlowNote id!:str text!:str position:Position size:Size color!:str type!:'free|group' locked:bool
  contained_node_ids:[str]
Position x!:num y!:num
Size width!:num height!:num
FlowGroup summary:str note:str autocollapse:bool start_id!:str end_id!:str color:str
FlowModule id!:str value!:ModuleValue summary:str? stop_after_if:StopAfterIf? stop_after_all_iters_if:StopAfterIf?
  skip_if:Expression? sleep:Transform? cache_ttl:num? cache_ignore_s3_path:bool? timeout:NumberTransform?
  delete_after_secs:int? delete_after_use~:bool? mock:Mock? suspend:Suspend? priority:num? continue_on_error:bool?
  retry:Retry? debouncing:Debouncing? apply_preprocessor:bool? pass_flow_input_directly:bool?
StopAfterIf expr!:str skip_if_stopped!:bool error_message:str? error_include_result:bool
Expression expr!:str
Mock enabled!:bool return_value:any
Suspend required_events:int? timeout:int? resume_form:ResumeForm? user_auth_required:bool?
  user_groups_required:Transform? self_approval_disabled:bool? hide_cancel:bool? continue_on_disapprove_timeout:bool?
  skin:'detailed|minimal' description~:str
ResumeForm schema:{{any}}?
Retry constant:ConstantRetry? exponential:ExponentialRetry? retry_if:Expression?
ConstantRetry attempts:int seconds:int
ExponentialRetry attempts:int multiplier:int seconds:int random_factor:int?
Debouncing debounce_delay_s:int? debounce_key:str? debounce_args_to_accumulate:[str]? max_total_debouncing_time:int?
  max_total_debounces_amount:int?
NumberTransform = type: static>StaticTransform javascript>JavascriptTransform
Transform = type: static>StaticTransform javascript>JavascriptTransform ai>AiTransform
StaticTransform type!:str value:any
JavascriptTransform type!:str expr!:str value~:any
AiTransform type!:str
ModuleValue = type: rawscript>RawScript script>PathScript flow>PathFlow forloopflow>ForloopFlow
  whileloopflow>WhileloopFlow branchone>BranchOne branchall>BranchAll identity>Identity aiagent>AiAgent
RawScript type!:str tool_type~:str content!:str language!:'{LANGUAGES}' input_transforms:{{Transform}} lock:str?
  path:str? tag:str? concurrent_limit:num? concurrency_time_window_s:num? custom_concurrency_key:str? is_trigger:bool?
  assets:[Asset]?
Asset path!:str kind!:'s3object|resource|ducklake|datatable|volume|dbt' access_type:'r|w|rw'? alt_access_type:'r|w|rw'?
  columns:any
PathScript type!:str tool_type~:str path!:str input_transforms:{{Transform}} hash:str? tag_override:str?
  is_trigger:bool? pass_flow_input_directly:bool?
PathFlow type!:str tool_type~:str path!:str input_transforms:{{Transform}} pass_flow_input_directly:bool?
ForloopFlow type!:str tool_type~:str modules!:[FlowModule] iterator!:Transform skip_failures:bool parallel:bool
  parallelism:NumberTransform? squash:bool?
WhileloopFlow type!:str tool_type~:str modules!:[FlowModule] skip_failures:bool parallel:bool
  parallelism:NumberTransform? squash:bool?
BranchOne type!:str tool_type~:str branches!:[PredicateBranch] default!:[FlowModule]
BranchAll type!:str tool_type~:str branches!:[Branch] parallel:bool
PredicateBranch expr!:str modules!:[FlowModule] summary:str? parallel:bool skip_failure:bool
Branch modules!:[FlowModule] summary:str? parallel:bool skip_failure:bool expr~:str
Identity type!:str tool_type~:str flow:bool
AiAgent type!:str input_transforms!:AgentInputs tools:[AgentTool] tag:str? omit_output_from_conversation:bool
  agent:str tool_inputs:{{any}} parallel:bool tool_type~:str
AgentInputs provider:AgentTransform output_type:AgentTransform user_message:AgentTransform system_prompt:AgentTransform
  streaming:AgentTransform memory:AgentTransform memory_id:AgentTransform previous_messages:AgentTransform
  output_schema:AgentTransform user_attachments:AgentTransform enabled_tools:AgentTransform
  max_completion_tokens:AgentTransform temperature:AgentTransform max_iterations:AgentTransform
  user_images~:AgentTransform messages_context_length~:AgentTransform
AgentTransform = type: static>StaticTransform javascript>JavascriptTransform ai>AiTransform
AgentTool id!:str value!:ToolValue summary:str? description:str?
ToolValue = tool_type: flowmodule>ModuleValue mcp>McpTool websearch>WebsearchTool
McpTool tool_type!:str resource_path!:str include_tools:[str] exclude_tools:[str]
WebsearchTool tool_type!:str
"""

ITEMS = """
Script summary:str description:str schema:{any}? lock:Lock? kind:'script|failure|trigger|command|approval|preprocessor'
  tag:str? envs:[str]? cache_ttl:int? cache_ignore_s3_path:bool? timeout:int? concurrent_limit:int?
  concurrency_time_window_s:int? concurrency_key:str? debounce_key:str? debounce_delay_s:int?
  debounce_args_to_accumulate:[str]? max_total_debouncing_time:int? max_total_debounces_amount:int?
  dedicated_worker:bool? ws_error_handler_muted:bool? priority:int? delete_after_secs:int?
  delete_after_use~:bool? restart_unless_cancelled:bool? visible_to_runner_only:bool? has_preprocessor:bool?
  codebase:str? on_behalf_of_email:str? on_behalf_of:str? has_on_behalf_of:bool? labels:[str]? extra_perms:{bool}?
  is_template~:bool? no_main_func~:bool? auto_kind~:str? parent_hash~:str? draft_only~:bool? assets~:any
  modules:any
Resource value!:any resource_type!:str description:str? labels:[str]? is_oauth~:bool is_expired~:any is_refreshed~:any
  account~:any is_linked~:any ws_specific:bool? refresh_error~:any extra_perms~:any
Variable value:str? is_secret!:bool description!:str account:int? is_oauth:bool? expires_at:str? labels:[str]?
  ws_specific:bool? extra_perms~:any is_expired~:any is_refreshed~:any is_linked~:any refresh_error~:any
ResourceType schema!:any description:str? format_extension:str? is_fileset:bool? display_name:str?
Folder summary:str? display_name:str? owners:[str] extra_perms:{bool}
  default_permissioned_as:[PermissionRule]? labels:[str]?
PermissionRule path_glob!:str permissioned_as!:str
Schedule schedule!:str timezone!:str enabled!:bool script_path!:str is_flow!:bool args:{any}? on_failure:str?
  on_failure_times:int? on_failure_exact:bool? on_failure_extra_args:{any}? on_recovery:str? on_recovery_times:int?
  on_recovery_extra_args:{any}? on_success:str? on_success_extra_args:{any}? ws_error_handler_muted:bool?
  retry:Retry? no_flow_overlap:bool? summary:str? description:str? tag:str? paused_until:str? cron_version:'v1|v2'?
  dynamic_skip:str? labels:[str]? email~:str extra_perms~:any error~:any permissioned_as:str?
  has_permissioned_as:bool? draft_only~:bool is_draft~:bool inherited_labels~:any
Retry constant:ConstantRetry? exponential:ExponentialRetry? retry_if:RetryIf?
RetryIf expr!:str
ConstantRetry attempts:int seconds:int
ExponentialRetry attempts:int multiplier:int seconds:int random_factor:int?
App summary:str value!:any policy:Policy custom_path:str? labels:[str]? extra_perms:any on_behalf_of_email~:any
  has_on_behalf_of:bool public~:bool data:any
Policy execution_mode:'viewer|publisher|anonymous' triggerables:any triggerables_v2:any s3_inputs:any
  allowed_s3_keys:any
  on_behalf_of:any on_behalf_of_email:any sandbox:any
Group name:str summary:str? members:[str] admins:[str] extra_perms~:any
User username!:str role!:'admin|developer|operator' disabled:bool email:str name~:str?
Settings auto_invite:any webhook:str? deploy_to:str? error_handler:any success_handler:any ai_config:any
  large_file_storage:any git_sync:any default_app:str? default_scripts:any name:str mute_critical_alerts:bool?
  color:str? operator_settings:any datatable:any slack_team_id:str? slack_name:str? slack_command_script:str?
  slack_oauth_client_id:str? slack_oauth_client_secret:str? ducklake:any public_app_execution_limit_per_minute:any
  auto_invite_enabled~:bool auto_invite_as~:str auto_invite_mode~:str error_handler_extra_args~:any
  error_handler_muted_on_cancel~:bool
RawApp summary:str custom_path:str? policy:Policy runnables:any labels:[str]? data:any extra_perms:any
  framework:str value:any
  public~:bool
Backend type!:'inline|script|flow|hubscript|path|runnableByName|runnableByPath' path:str name:str fields:{any}
  inlineScript:any schema~:any runType~:str
"""

# What every trigger has; `enabled` is the older spelling of `mode`.
_TRIGGER = """script_path!:str is_flow!:bool mode:'enabled|disabled|suspended' enabled~:bool labels:[str]?
  error_handler_path:str? error_handler_args:{any}? retry:Retry? permissioned_as:str? has_permissioned_as:bool?
  draft_only~:bool is_draft~:bool extra_perms~:any email~:str inherited_labels~:any"""

TRIGGERS = f"""
http {_TRIGGER} route_path!:str route_path_key:str http_method!:'get|post|put|delete|patch'
  request_type:'sync|async|sync_sse' is_async~:bool
  authentication_method!:'none|windmill|api_key|basic_http|custom_script|signature'
  authentication_resource_path:str? static_asset_config:StaticAsset? is_static_website!:bool workspaced_route:bool
  wrap_body:bool raw_string:bool summary:str? description:str? allowed_origins:[str]? requires_auth~:bool
StaticAsset s3!:str storage:str? filename:str?
websocket {_TRIGGER} url!:str filters!:[Filter] filter_logic:'and|or' initial_messages:[any]? url_runnable_args:{{any}}?
  can_return_message!:bool can_return_error_result:bool heartbeat:Heartbeat?
Filter key:str value:any path:str any_of:[any] all_of:[any] none_of:[any]
Heartbeat interval_secs!:int message!:str state_field:str?
kafka {_TRIGGER} kafka_resource_path!:str group_id!:str topics!:[str] filters:[Filter] filter_logic:'and|or'
  auto_offset_reset:'latest|earliest' auto_commit:bool reset_offset:any
nats {_TRIGGER} nats_resource_path!:str use_jetstream!:bool stream_name:str? consumer_name:str? subjects!:[str]
postgres {_TRIGGER} postgres_resource_path!:str publication_name!:str replication_slot_name!:str publication:any
  basic_mode:bool?
mqtt {_TRIGGER} mqtt_resource_path!:str subscribe_topics!:[MqttTopic] v3_config:MqttV3? v5_config:MqttV5? client_id:str?
  client_version:'v3|v5'?
MqttTopic qos!:'qos0|qos1|qos2' topic!:str
MqttV3 clean_session:bool?
MqttV5 clean_start:bool? session_expiry_interval:num? topic_alias_maximum:num?
amqp {_TRIGGER} amqp_resource_path!:str queue_name!:str exchange:AmqpExchange? options:AmqpOptions?
AmqpExchange exchange_name!:str routing_keys:[str]?
AmqpOptions declare_queue:bool? prefetch_count:int?
sqs {_TRIGGER} queue_url!:str aws_auth_resource_type!:'oidc|credentials' aws_resource_path!:str
  message_attributes:[str]?
gcp {_TRIGGER} gcp_resource_path:str? project_id:str? topic_id!:str subscription_id!:str delivery_type!:'push|pull'
  delivery_config:GcpDelivery? subscription_mode!:'existing|create_update' base_endpoint:str? auto_acknowledge_msg:bool?
  ack_deadline:int?
GcpDelivery audience:str authenticate!:bool base_endpoint~:str
azure {_TRIGGER} azure_resource_path!:str azure_mode!:'basic_push|namespace_push|namespace_pull'
  scope_resource_id!:str topic_name:str? subscription_name!:str
  base_endpoint:str? event_type_filters:[str]? push_auth_config:any
email {_TRIGGER} local_part!:str workspaced_local_part:bool
Retry constant:ConstantRetry? exponential:ExponentialRetry? retry_if:RetryIf?
RetryIf expr!:str
ConstantRetry attempts:int seconds:int
ExponentialRetry attempts:int multiplier:int seconds:int random_factor:int?
"""

_SYNC = """defaultTs:'bun|deno' includes:Globs extraIncludes:[str] excludes:Globs skipVariables:bool
  skipResources:bool skipResourceTypes:bool skipSecrets:bool skipScripts:bool skipFlows:bool skipApps:bool
  skipFolders:bool skipWorkspaceDependencies:bool skipDatatableMigrations:bool includeSchedules:bool
  includeTriggers:bool includeUsers:bool includeGroups:bool includeSettings:bool includeKey:bool parallel:int
  locksRequired:bool dedupeLockfiles:bool lint:bool plainSecrets:bool message:str promotion:str
  skipBranchValidation:bool nonDottedPaths:bool syncBehavior:str codebases:[Codebase] stateful~:bool raw~:bool
  json~:bool"""

CONFIG = f"""
Config {_SYNC} workspaces:Workspaces gitBranches:Workspaces environments:Workspaces git_branches~:Workspaces
  folders~:any
Workspaces commonSpecificItems:SpecificItems *:Workspace
Workspace gitBranch:str workspaceId:str baseUrl:str overrides:Overrides promotionOverrides:Overrides
  specificItems:SpecificItems
Overrides {_SYNC}
SpecificItems variables:[str] resources:[str] triggers:[str] folders:[str] schedules:[str] settings:bool
Codebase relative_path!:str includes:Globs excludes:Globs format:'cjs|esm' external:[str] assets:[CodebaseAsset]
  customBundler:str inject:[str] define:{{str}} banner:{{str}} loader:{{str}}
CodebaseAsset from!:str to!:str
Lockfile version:str locks:any shared_locks:any
"""
