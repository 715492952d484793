// Named locks over gRPC.
//
// A lock belongs to a session, a session is one stream, and the end of the stream releases the lock.
// A lease (AcquireLease) belongs to no stream: it ends with its ttl, unless it is renewed. Not getting a lock is an answer (`not_acquired`, status OK); only a failure is an error status.
//
// Durations: one that is not set takes the default that its field names; one that is set is taken at
// its word. Durations are rounded up to whole milliseconds. A negative one is INVALID_ARGUMENT, and so
// is one that protobuf forbids: seconds and nanos of different signs, nanos beyond 999,999,999, or
// seconds beyond 315,576,000,000.
//
// Validity: a field `expires_after_X` counts from when the client SENT X, never from when the answer
// came. So a client notes the time before it sends X, and may act until that time + the field. It
// counts by a clock that runs on while the machine is suspended. With a ttl of 15 s:
//
//   X                                sent at    the field says    the lock expires at
//   Acquire                          12:00:00   12.997 s          12:00:12.997
//   the same, at a Renewed 5 s later            17.996 s          12:00:17.996
//   WaitAcquire, granted after 40 s  12:00:00   52.989 s          12:00:52.989
//   a Session's open                 12:00:00   12.997 s          12:00:12.997
//   a Session's heartbeat            12:00:05   12.997 s          12:00:17.997
//
// The broker tells `lost` a thirtieth of the ttl (0.5 s here) before the end that it counts, and gives
// the lock to nobody before that end. A client does the same by its own count: from 12:00:12.497 on, in
// the first line, it takes the lock for lost and stops, whatever comes later.
//
// Errors: every error status has a google.rpc.ErrorInfo among its details, of the domain "lockbroker",
// with one of these reasons, and the lock's name as `lock` in its metadata where it is about one. A
// reason keeps its code and its meaning; texts may change; later versions may add reasons. UNAVAILABLE
// comes with a google.rpc.RetryInfo, INVALID_FIELD with a google.rpc.BadRequest that names the field.
//
//   INVALID_FIELD         INVALID_ARGUMENT    a field is wrong, and would be again
//   MALFORMED_MESSAGE     INTERNAL            the message is none of this service's
//   MESSAGE_TOO_LARGE     RESOURCE_EXHAUSTED  longer than 4 KiB, as it came or decompressed
//   UNSUPPORTED_ENCODING  UNIMPLEMENTED       compressed by something else than gzip
//   UNKNOWN_METHOD        UNIMPLEMENTED       there is no such method
//   UNKNOWN_SERVICE       NOT_FOUND           a health check of a service that there is not
//   UNKNOWN_CALLER        UNAUTHENTICATED     the policy knows nobody by this connection
//   POLICY_DENIED         PERMISSION_DENIED   the policy does not let this caller do that
//   ORIGIN_REFUSED        PERMISSION_DENIED   over HTTP: a web page of another site asks, or for a host that is not known
//   BROKER_DRAINING       UNAVAILABLE         the broker is going away: ask another one
//   STORE_UNAVAILABLE     UNAVAILABLE         the store did not answer, or not in time
//   STORE_QUARANTINED     UNAVAILABLE         the store lost its memory and grants nothing for a while
//   STORE_REFUSED         UNAVAILABLE         the store is not used until the operator mends it
//   STORE_FULL            RESOURCE_EXHAUSTED  the store has no memory for another lock
//   MAX_LOCKS             RESOURCE_EXHAUSTED  the broker holds as many locks as it may
//   MAX_WAITERS           RESOURCE_EXHAUSTED  as many wait at the broker as may
//   MAX_OBSERVERS         RESOURCE_EXHAUSTED  as many streams observe locks at the broker as may
//   MAX_CONCURRENT_RPCS   RESOURCE_EXHAUSTED  as many calls are under way as may be
//   MAX_STREAMS           RESOURCE_EXHAUSTED  as many streams are open at the broker as may be
//   QUOTA_LOCKS           RESOURCE_EXHAUSTED  the caller has as many locks here as its quota allows
//   QUOTA_WAITERS         RESOURCE_EXHAUSTED  as many of the caller's requests wait here as its quota allows
//   QUOTA_OBSERVERS       RESOURCE_EXHAUSTED  as many of the caller's streams observe locks here as its quota allows
//   QUOTA_RATE            RESOURCE_EXHAUSTED  the caller asks more often than its quota allows
//   REQUEST_INCOMPLETE    DEADLINE_EXCEEDED   the request did not come whole within a time
//   DEADLINE_OVER         DEADLINE_EXCEEDED   the call's deadline is over
//   LOST_EXPIRED          ABORTED             after `lost`: no renewal got through in time
//   LOST_GONE             ABORTED             after `lost`: the store no longer has the grant
//   LOST_TAKEN_OVER       ABORTED             after `lost`: another grant took its place
//   LOST_REVOKED          ABORTED             after `lost`: an operator revoked the lock
//   SESSION_SILENT        ABORTED             the Session's heartbeats were missing for too long
//   LIST_REFUSED          UNIMPLEMENTED       the store does not list its keys: memcached runs with -X
//   BROKER_FAULT          INTERNAL            the broker failed

// @generated by protoc-gen-es v2.17.0 with parameter "target=ts,import_extension=js"
// @generated from file lockbroker/v1/lockbroker.proto (package lockbroker.v1, syntax proto3)
/* eslint-disable */

import type { GenEnum, GenFile, GenMessage, GenService } from "@bufbuild/protobuf/codegenv2";
import { enumDesc, fileDesc, messageDesc, serviceDesc } from "@bufbuild/protobuf/codegenv2";
import type { Duration } from "@bufbuild/protobuf/wkt";
import { file_google_protobuf_duration } from "@bufbuild/protobuf/wkt";
import type { Message } from "@bufbuild/protobuf";

/**
 * Describes the file lockbroker/v1/lockbroker.proto.
 */
export const file_lockbroker_v1_lockbroker: GenFile = /*@__PURE__*/
  fileDesc("Ch5sb2NrYnJva2VyL3YxL2xvY2ticm9rZXIucHJvdG8SDWxvY2ticm9rZXIudjEiygMKCExvY2tTcGVjEgwKBG5hbWUYASABKAkSKQoGbGluZ2VyGAIgASgLMhkuZ29vZ2xlLnByb3RvYnVmLkR1cmF0aW9uEg0KBW93bmVyGAMgASgJEioKBG1vZGUYBCABKA4yHC5sb2NrYnJva2VyLnYxLkxvY2tTcGVjLk1vZGUSDQoFbGltaXQYBiABKAUSDgoGd2VpZ2h0GAkgASgFEjsKDW9uX2Rpc2Nvbm5lY3QYBSABKA4yJC5sb2NrYnJva2VyLnYxLkxvY2tTcGVjLk9uRGlzY29ubmVjdBIrCghtaW5faG9sZBgIIAEoCzIZLmdvb2dsZS5wcm90b2J1Zi5EdXJhdGlvbhISCgV2YWx1ZRgHIAEoDEgAiAEBImAKDE9uRGlzY29ubmVjdBIdChlPTl9ESVNDT05ORUNUX1VOU1BFQ0lGSUVEEAASGQoVT05fRElTQ09OTkVDVF9SRUxFQVNFEAESFgoST05fRElTQ09OTkVDVF9LRUVQEAIiQQoETW9kZRIUChBNT0RFX1VOU1BFQ0lGSUVEEAASEgoOTU9ERV9FWENMVVNJVkUQARIPCgtNT0RFX1NIQVJFRBACQggKBl92YWx1ZSJpCghXYWl0U3BlYxIrCghtYXhfd2FpdBgBIAEoCzIZLmdvb2dsZS5wcm90b2J1Zi5EdXJhdGlvbhIwCg1wb2xsX2ludGVydmFsGAIgASgLMhkuZ29vZ2xlLnByb3RvYnVmLkR1cmF0aW9uInkKDkFjcXVpcmVSZXF1ZXN0EiUKBGxvY2sYASABKAsyFy5sb2NrYnJva2VyLnYxLkxvY2tTcGVjEiYKA3R0bBgCIAEoCzIZLmdvb2dsZS5wcm90b2J1Zi5EdXJhdGlvbhIYChByZWF0dGFjaF9sb2NrX2lkGAMgASgJIooBChJXYWl0QWNxdWlyZVJlcXVlc3QSJQoEbG9jaxgBIAEoCzIXLmxvY2ticm9rZXIudjEuTG9ja1NwZWMSJgoDdHRsGAIgASgLMhkuZ29vZ2xlLnByb3RvYnVmLkR1cmF0aW9uEiUKBHdhaXQYAyABKAsyFy5sb2NrYnJva2VyLnYxLldhaXRTcGVjIjoKD0FjcXVpcmVSZXNwb25zZRInCgVldmVudBgBIAEoCzIYLmxvY2ticm9rZXIudjEuTG9ja0V2ZW50Ij4KE1dhaXRBY3F1aXJlUmVzcG9uc2USJwoFZXZlbnQYASABKAsyGC5sb2NrYnJva2VyLnYxLkxvY2tFdmVudCLwAgoJTG9ja0V2ZW50EisKCGFjcXVpcmVkGAEgASgLMhcubG9ja2Jyb2tlci52MS5BY3F1aXJlZEgAEjIKDG5vdF9hY3F1aXJlZBgCIAEoCzIaLmxvY2ticm9rZXIudjEuTm90QWNxdWlyZWRIABInCgZxdWV1ZWQYAyABKAsyFS5sb2NrYnJva2VyLnYxLlF1ZXVlZEgAEikKB3JlbmV3ZWQYBCABKAsyFi5sb2NrYnJva2VyLnYxLlJlbmV3ZWRIABIjCgRsb3N0GAUgASgLMhMubG9ja2Jyb2tlci52MS5Mb3N0SAASKwoIcmVsZWFzZWQYBiABKAsyFy5sb2NrYnJva2VyLnYxLlJlbGVhc2VkSAASKwoIZHJhaW5pbmcYByABKAsyFy5sb2NrYnJva2VyLnYxLkRyYWluaW5nSAASJwoGZmFpbGVkGAggASgLMhUubG9ja2Jyb2tlci52MS5GYWlsZWRIAEIGCgRraW5kIrcBCghBY3F1aXJlZBIPCgdsb2NrX2lkGAEgASgJEhUKDWZlbmNpbmdfdG9rZW4YAiABKAMSOAoVZXhwaXJlc19hZnRlcl9yZXF1ZXN0GAMgASgLMhkuZ29vZ2xlLnByb3RvYnVmLkR1cmF0aW9uEhMKBnBlcm1pdBgEIAEoBUgAiAEBEikKBGFsc28YBSADKAsyGy5sb2NrYnJva2VyLnYxLkFsc29BY3F1aXJlZEIJCgdfcGVybWl0IlYKDEFsc29BY3F1aXJlZBIPCgdsb2NrX2lkGAEgASgJEhUKDWZlbmNpbmdfdG9rZW4YAiABKAMSEwoGcGVybWl0GAMgASgFSACIAQFCCQoHX3Blcm1pdCLvAQoLTm90QWNxdWlyZWQSMQoGcmVhc29uGAEgASgOMiEubG9ja2Jyb2tlci52MS5Ob3RBY3F1aXJlZC5SZWFzb24SDQoFb3duZXIYAiABKAkSDAoEbmFtZRgDIAEoCSKPAQoGUmVhc29uEhYKElJFQVNPTl9VTlNQRUNJRklFRBAAEg8KC1JFQVNPTl9IRUxEEAESFAoQUkVBU09OX0xJTkdFUklORxACEhMKD1JFQVNPTl9NQVhfV0FJVBADEhQKEFJFQVNPTl9DQU5DRUxMRUQQBBIbChdSRUFTT05fTk9UX1JFQVRUQUNIQUJMRRAFIhoKBlF1ZXVlZBIQCghwb3NpdGlvbhgBIAEoBSJDCgdSZW5ld2VkEjgKFWV4cGlyZXNfYWZ0ZXJfcmVxdWVzdBgBIAEoCzIZLmdvb2dsZS5wcm90b2J1Zi5EdXJhdGlvbiKyAQoETG9zdBIqCgZyZWFzb24YASABKA4yGi5sb2NrYnJva2VyLnYxLkxvc3QuUmVhc29uEgwKBG5hbWUYAiABKAkicAoGUmVhc29uEhYKElJFQVNPTl9VTlNQRUNJRklFRBAAEhIKDlJFQVNPTl9FWFBJUkVEEAESDwoLUkVBU09OX0dPTkUQAhIVChFSRUFTT05fVEFLRU5fT1ZFUhADEhIKDlJFQVNPTl9SRVZPS0VEEAQiCgoIUmVsZWFzZWQiNAoIRHJhaW5pbmcSKAoFZ3JhY2UYASABKAsyGS5nb29nbGUucHJvdG9idWYuRHVyYXRpb24iZwoGRmFpbGVkEgwKBGNvZGUYASABKAUSDwoHbWVzc2FnZRgCIAEoCRIuCgtyZXRyeV9hZnRlchgDIAEoCzIZLmdvb2dsZS5wcm90b2J1Zi5EdXJhdGlvbhIOCgZyZWFzb24YBCABKAkinwEKE0FjcXVpcmVMZWFzZVJlcXVlc3QSJQoEbG9jaxgBIAEoCzIXLmxvY2ticm9rZXIudjEuTG9ja1NwZWMSJgoDdHRsGAIgASgLMhkuZ29vZ2xlLnByb3RvYnVmLkR1cmF0aW9uEiUKBHdhaXQYAyABKAsyFy5sb2NrYnJva2VyLnYxLldhaXRTcGVjEhIKCnJlcXVlc3RfaWQYBCABKAkigQEKFEFjcXVpcmVMZWFzZVJlc3BvbnNlEisKCGFjcXVpcmVkGAEgASgLMhcubG9ja2Jyb2tlci52MS5BY3F1aXJlZEgAEjIKDG5vdF9hY3F1aXJlZBgCIAEoCzIaLmxvY2ticm9rZXIudjEuTm90QWNxdWlyZWRIAEIICgZyZXN1bHQiMgoRUmVuZXdMZWFzZVJlcXVlc3QSDAoEbmFtZRgBIAEoCRIPCgdsb2NrX2lkGAIgASgJIm4KElJlbmV3TGVhc2VSZXNwb25zZRIpCgdyZW5ld2VkGAEgASgLMhYubG9ja2Jyb2tlci52MS5SZW5ld2VkSAASIwoEbG9zdBgCIAEoCzITLmxvY2ticm9rZXIudjEuTG9zdEgAQggKBnJlc3VsdCIvCg5SZWxlYXNlUmVxdWVzdBIMCgRuYW1lGAEgASgJEg8KB2xvY2tfaWQYAiABKAkitwEKD1JlbGVhc2VSZXNwb25zZRI3CgdvdXRjb21lGAEgASgOMiYubG9ja2Jyb2tlci52MS5SZWxlYXNlUmVzcG9uc2UuT3V0Y29tZSJrCgdPdXRjb21lEhcKE09VVENPTUVfVU5TUEVDSUZJRUQQABIUChBPVVRDT01FX1JFTEVBU0VEEAESFAoQT1VUQ09NRV9OT1RfSEVMRBACEhsKF09VVENPTUVfSEVMRF9CWV9BTk9USEVSEAMiTwoOR2V0TG9ja1JlcXVlc3QSDAoEbmFtZRgBIAEoCRIPCgdsb2NrX2lkGAIgASgJEhMKBnBlcm1pdBgDIAEoBUgAiAEBQgkKB19wZXJtaXQiswMKD0dldExvY2tSZXNwb25zZRIzCgVzdGF0ZRgBIAEoDjIkLmxvY2ticm9rZXIudjEuR2V0TG9ja1Jlc3BvbnNlLlN0YXRlEg0KBW93bmVyGAIgASgJEi4KC2ZyZWVfd2l0aGluGAMgASgLMhkuZ29vZ2xlLnByb3RvYnVmLkR1cmF0aW9uEjgKFWV4cGlyZXNfYWZ0ZXJfcmVxdWVzdBgEIAEoCzIZLmdvb2dsZS5wcm90b2J1Zi5EdXJhdGlvbhIUCgxzaGFyZWRfY291bnQYBSABKAUSFQoNZmVuY2luZ190b2tlbhgGIAEoAxIrCghoZWxkX2ZvchgHIAEoCzIZLmdvb2dsZS5wcm90b2J1Zi5EdXJhdGlvbhIMCgRldGFnGAggASgJEg8KB2NsYWltZWQYCSABKAgieQoFU3RhdGUSFQoRU1RBVEVfVU5TUEVDSUZJRUQQABIOCgpTVEFURV9GUkVFEAESDgoKU1RBVEVfSEVMRBACEhMKD1NUQVRFX0xJTkdFUklORxADEhEKDVNUQVRFX1JFVk9LRUQQBBIRCg1TVEFURV9DTEFJTUVEEAUiQQoRVXBkYXRlTG9ja1JlcXVlc3QSDAoEbmFtZRgBIAEoCRIPCgdsb2NrX2lkGAIgASgJEg0KBXZhbHVlGAMgASgMItMBChJVcGRhdGVMb2NrUmVzcG9uc2USOgoHb3V0Y29tZRgBIAEoDjIpLmxvY2ticm9rZXIudjEuVXBkYXRlTG9ja1Jlc3BvbnNlLk91dGNvbWUigAEKB091dGNvbWUSFwoTT1VUQ09NRV9VTlNQRUNJRklFRBAAEhMKD09VVENPTUVfVVBEQVRFRBABEhQKEE9VVENPTUVfTk9UX0hFTEQQAhIbChdPVVRDT01FX0hFTERfQllfQU5PVEhFUhADEhQKEE9VVENPTUVfTk9fVkFMVUUQBCIeCg5PYnNlcnZlUmVxdWVzdBIMCgRuYW1lGAEgASgJIrQCCg9PYnNlcnZlUmVzcG9uc2USMwoFc3RhdGUYASABKA4yJC5sb2NrYnJva2VyLnYxLk9ic2VydmVSZXNwb25zZS5TdGF0ZRINCgVvd25lchgCIAEoCRISCgV2YWx1ZRgDIAEoDEgAiAEBEhUKDWZlbmNpbmdfdG9rZW4YBCABKAMSLQoKZXhwaXJlc19pbhgFIAEoCzIZLmdvb2dsZS5wcm90b2J1Zi5EdXJhdGlvbiJ5CgVTdGF0ZRIVChFTVEFURV9VTlNQRUNJRklFRBAAEhEKDVNUQVRFX1VOS05PV04QARIOCgpTVEFURV9GUkVFEAISDgoKU1RBVEVfSEVMRBADEhMKD1NUQVRFX0xJTkdFUklORxAEEhEKDVNUQVRFX1JFVk9LRUQQBUIICgZfdmFsdWUixQEKDlNlc3Npb25SZXF1ZXN0EioKBG9wZW4YASABKAsyGi5sb2NrYnJva2VyLnYxLk9wZW5TZXNzaW9uSAASLQoJaGVhcnRiZWF0GAIgASgLMhgubG9ja2Jyb2tlci52MS5IZWFydGJlYXRIABIpCgViZWdpbhgDIAEoCzIYLmxvY2ticm9rZXIudjEuQmVnaW5Mb2NrSAASJQoDZW5kGAQgASgLMhYubG9ja2Jyb2tlci52MS5FbmRMb2NrSABCBgoEa2luZCI1CgtPcGVuU2Vzc2lvbhImCgN0dGwYASABKAsyGS5nb29nbGUucHJvdG9idWYuRHVyYXRpb24iGAoJSGVhcnRiZWF0EgsKA3NlcRgBIAEoAyKsAQoJQmVnaW5Mb2NrEhAKCGxvY2tfcmVmGAEgASgDEiUKBGxvY2sYAiABKAsyFy5sb2NrYnJva2VyLnYxLkxvY2tTcGVjEiUKBHdhaXQYAyABKAsyFy5sb2NrYnJva2VyLnYxLldhaXRTcGVjEhgKEHJlYXR0YWNoX2xvY2tfaWQYBCABKAkSJQoEYWxzbxgFIAMoCzIXLmxvY2ticm9rZXIudjEuQWxzb0xvY2siSwoIQWxzb0xvY2sSJQoEbG9jaxgBIAEoCzIXLmxvY2ticm9rZXIudjEuTG9ja1NwZWMSGAoQcmVhdHRhY2hfbG9ja19pZBgCIAEoCSIbCgdFbmRMb2NrEhAKCGxvY2tfcmVmGAEgASgDIq0BCg9TZXNzaW9uUmVzcG9uc2USLgoGb3BlbmVkGAEgASgLMhwubG9ja2Jyb2tlci52MS5TZXNzaW9uT3BlbmVkSAASNAoNaGVhcnRiZWF0X2FjaxgCIAEoCzIbLmxvY2ticm9rZXIudjEuSGVhcnRiZWF0QWNrSAASLAoFZXZlbnQYAyABKAsyGy5sb2NrYnJva2VyLnYxLlNlc3Npb25FdmVudEgAQgYKBGtpbmQipQEKDVNlc3Npb25PcGVuZWQSJgoDdHRsGAEgASgLMhkuZ29vZ2xlLnByb3RvYnVmLkR1cmF0aW9uEjUKEmV4cGlyZXNfYWZ0ZXJfb3BlbhgCIAEoCzIZLmdvb2dsZS5wcm90b2J1Zi5EdXJhdGlvbhI1ChJoZWFydGJlYXRfaW50ZXJ2YWwYAyABKAsyGS5nb29nbGUucHJvdG9idWYuRHVyYXRpb24ibAoMSGVhcnRiZWF0QWNrEgsKA3NlcRgBIAEoAxI6ChdleHBpcmVzX2FmdGVyX2hlYXJ0YmVhdBgCIAEoCzIZLmdvb2dsZS5wcm90b2J1Zi5EdXJhdGlvbhITCgtub3RfcmVuZXdlZBgDIAMoAyJJCgxTZXNzaW9uRXZlbnQSEAoIbG9ja19yZWYYASABKAMSJwoFZXZlbnQYAiABKAsyGC5sb2NrYnJva2VyLnYxLkxvY2tFdmVudCIxChBMaXN0TG9ja3NSZXF1ZXN0Eg4KBnByZWZpeBgBIAEoCRINCgVsaW1pdBgCIAEoBSJKChFMaXN0TG9ja3NSZXNwb25zZRImCgVsb2NrcxgBIAMoCzIXLmxvY2ticm9rZXIudjEuTG9ja0luZm8SDQoFdG90YWwYAiABKAUi/gEKCExvY2tJbmZvEgwKBG5hbWUYASABKAkSMwoFc3RhdGUYAiABKA4yJC5sb2NrYnJva2VyLnYxLkdldExvY2tSZXNwb25zZS5TdGF0ZRINCgVvd25lchgDIAEoCRIuCgtmcmVlX3dpdGhpbhgEIAEoCzIZLmdvb2dsZS5wcm90b2J1Zi5EdXJhdGlvbhIVCg1mZW5jaW5nX3Rva2VuGAUgASgDEisKCGhlbGRfZm9yGAYgASgLMhkuZ29vZ2xlLnByb3RvYnVmLkR1cmF0aW9uEgwKBGV0YWcYByABKAkSEwoGcGVybWl0GAggASgFSACIAQFCCQoHX3Blcm1pdCJBChJMaXN0V2FpdGVyc1JlcXVlc3QSDAoEbmFtZRgBIAEoCRIOCgZwcmVmaXgYAiABKAkSDQoFbGltaXQYAyABKAUiUAoTTGlzdFdhaXRlcnNSZXNwb25zZRIqCgd3YWl0ZXJzGAEgAygLMhkubG9ja2Jyb2tlci52MS5XYWl0ZXJJbmZvEg0KBXRvdGFsGAIgASgFIs8BCgpXYWl0ZXJJbmZvEgwKBG5hbWUYASABKAkSEAoIcG9zaXRpb24YAiABKAUSDQoFb3duZXIYAyABKAkSLQoKd2FpdGVkX2ZvchgEIAEoCzIZLmdvb2dsZS5wcm90b2J1Zi5EdXJhdGlvbhIqCgRtb2RlGAUgASgOMhwubG9ja2Jyb2tlci52MS5Mb2NrU3BlYy5Nb2RlEg0KBWxpbWl0GAYgASgFEg4KBndlaWdodBgHIAEoBRIYChBrZWVwc19vdGhlcnNfb3V0GAggASgIImIKEVJldm9rZUxvY2tSZXF1ZXN0EgwKBG5hbWUYASABKAkSDAoEZXRhZxgCIAEoCRIRCglpbW1lZGlhdGUYAyABKAgSEwoGcGVybWl0GAQgASgFSACIAQFCCQoHX3Blcm1pdCKGAgoSUmV2b2tlTG9ja1Jlc3BvbnNlEjoKB291dGNvbWUYASABKA4yKS5sb2NrYnJva2VyLnYxLlJldm9rZUxvY2tSZXNwb25zZS5PdXRjb21lEg0KBW93bmVyGAIgASgJEi4KC2ZyZWVfd2l0aGluGAMgASgLMhkuZ29vZ2xlLnByb3RvYnVmLkR1cmF0aW9uInUKB091dGNvbWUSFwoTT1VUQ09NRV9VTlNQRUNJRklFRBAAEhMKD09VVENPTUVfUkVWT0tFRBABEhQKEE9VVENPTUVfTk9UX0hFTEQQAhITCg9PVVRDT01FX0NIQU5HRUQQAxIRCg1PVVRDT01FX0ZSRUVEEAQy3gUKC0xvY2tTZXJ2aWNlEkoKB0FjcXVpcmUSHS5sb2NrYnJva2VyLnYxLkFjcXVpcmVSZXF1ZXN0Gh4ubG9ja2Jyb2tlci52MS5BY3F1aXJlUmVzcG9uc2UwARJWCgtXYWl0QWNxdWlyZRIhLmxvY2ticm9rZXIudjEuV2FpdEFjcXVpcmVSZXF1ZXN0GiIubG9ja2Jyb2tlci52MS5XYWl0QWNxdWlyZVJlc3BvbnNlMAESSAoHUmVsZWFzZRIdLmxvY2ticm9rZXIudjEuUmVsZWFzZVJlcXVlc3QaHi5sb2NrYnJva2VyLnYxLlJlbGVhc2VSZXNwb25zZRJXCgxBY3F1aXJlTGVhc2USIi5sb2NrYnJva2VyLnYxLkFjcXVpcmVMZWFzZVJlcXVlc3QaIy5sb2NrYnJva2VyLnYxLkFjcXVpcmVMZWFzZVJlc3BvbnNlElEKClJlbmV3TGVhc2USIC5sb2NrYnJva2VyLnYxLlJlbmV3TGVhc2VSZXF1ZXN0GiEubG9ja2Jyb2tlci52MS5SZW5ld0xlYXNlUmVzcG9uc2USSAoHR2V0TG9jaxIdLmxvY2ticm9rZXIudjEuR2V0TG9ja1JlcXVlc3QaHi5sb2NrYnJva2VyLnYxLkdldExvY2tSZXNwb25zZRJRCgpVcGRhdGVMb2NrEiAubG9ja2Jyb2tlci52MS5VcGRhdGVMb2NrUmVxdWVzdBohLmxvY2ticm9rZXIudjEuVXBkYXRlTG9ja1Jlc3BvbnNlEkoKB09ic2VydmUSHS5sb2NrYnJva2VyLnYxLk9ic2VydmVSZXF1ZXN0Gh4ubG9ja2Jyb2tlci52MS5PYnNlcnZlUmVzcG9uc2UwARJMCgdTZXNzaW9uEh0ubG9ja2Jyb2tlci52MS5TZXNzaW9uUmVxdWVzdBoeLmxvY2ticm9rZXIudjEuU2Vzc2lvblJlc3BvbnNlKAEwATKIAgoJTG9ja0FkbWluElAKCUxpc3RMb2NrcxIfLmxvY2ticm9rZXIudjEuTGlzdExvY2tzUmVxdWVzdBogLmxvY2ticm9rZXIudjEuTGlzdExvY2tzUmVzcG9uc2UwARJWCgtMaXN0V2FpdGVycxIhLmxvY2ticm9rZXIudjEuTGlzdFdhaXRlcnNSZXF1ZXN0GiIubG9ja2Jyb2tlci52MS5MaXN0V2FpdGVyc1Jlc3BvbnNlMAESUQoKUmV2b2tlTG9jaxIgLmxvY2ticm9rZXIudjEuUmV2b2tlTG9ja1JlcXVlc3QaIS5sb2NrYnJva2VyLnYxLlJldm9rZUxvY2tSZXNwb25zZULEAQoXaW8uZ2l0aHViLmxvY2ticm9rZXIudjFCD0xvY2ticm9rZXJQcm90b1ABWkZnaXRodWIuY29tL2xvY2ticm9rZXIvbG9ja2Jyb2tlci9jbGllbnRzL2dvL2xvY2ticm9rZXIvdjE7bG9ja2Jyb2tlcnYxogIDTEtCqgINTG9ja2Jyb2tlci5WMcoCDUxvY2ticm9rZXJcVjHiAhZMb2NrYnJva2VyXFYxXE1ldGFkYXRh6gIOTG9ja2Jyb2tlcjo6VjFiBnByb3RvMw", [file_google_protobuf_duration]);

/**
 * A lock to ask for, and its properties.
 *
 * @generated from message lockbroker.v1.LockSpec
 */
export type LockSpec = Message<"lockbroker.v1.LockSpec"> & {
  /**
   * The lock's name: 1 to 128 bytes of UTF-8 without control characters. Names differ if one byte does.
   *
   * @generated from field: string name = 1;
   */
  name: string;

  /**
   * The time after the release for which nobody can acquire the lock. Unset: 0. At most 1 h. That of a SHARED lock closes its
   * permit alone; whoever wants the lock EXCLUSIVE waits for it too.
   *
   * @generated from field: google.protobuf.Duration linger = 2;
   */
  linger?: Duration | undefined;

  /**
   * A label that GetLock and `not_acquired` show to others, for people who look for the holder.
   * At most 128 bytes without control characters. Unset: none. Best effort: it may be missing.
   *
   * @generated from field: string owner = 3;
   */
  owner: string;

  /**
   * The way to have the lock: EXCLUSIVE for writers, SHARED for readers, and for up to N at a time. A reattach of a permit
   * says SHARED, or nothing. EXCLUSIVE is INVALID_ARGUMENT: two readers who both wanted to write would wait for each other.
   *
   * A reattach of an EXCLUSIVE lock that says SHARED is a downgrade: from then on others may share the lock, and nobody has
   * had it EXCLUSIVE in between. Stop writing before you ask: the answer may come late. `Acquired` has a permit then. If it
   * has none, there was none to be had (the store was away), and the lock is EXCLUSIVE as before: ask again with the new
   * lock id. INVALID_ARGUMENT for a lock with a `min_hold`. The lock's `value` ends with it.
   *
   * @generated from field: lockbroker.v1.LockSpec.Mode mode = 4;
   */
  mode: LockSpec_Mode;

  /**
   * Of a SHARED lock: the most that may have it at a time, 1 to 4,096. The permit is below this number. Unset: 4,096.
   * INVALID_ARGUMENT with another mode. Nothing is set up, so each request says it anew: all users of a name should
   * say the same. If they do not, each still gets a permit below its own limit alone, and so never more than the
   * highest of the limits have the lock at a time.
   *
   * @generated from field: int32 limit = 6;
   */
  limit: number;

  /**
   * The number of permits to take of a SHARED lock, all at once: 1 to 16, and at most `limit`. Unset: 1. More than one only on
   * a Session, and not together with `also` or `min_hold`. `Acquired` has the first permit, and `Acquired.also` the others,
   * each with a lock id and a token of its own. A reattach has the first in `reattach_lock_id`, the others in
   * `BeginLock.also`, and no weight. Once it is the turn of one that waits for several, others get no new ones, as behind one
   * that wants the lock EXCLUSIVE. When one is lost, all are.
   *
   * @generated from field: int32 weight = 9;
   */
  weight: number;

  /**
   * What becomes of the lock when its stream ends. Each reattach says it anew.
   *
   * @generated from field: lockbroker.v1.LockSpec.OnDisconnect on_disconnect = 5;
   */
  onDisconnect: LockSpec_OnDisconnect;

  /**
   * The time after the grant for which nobody else can acquire the lock, whenever and however its holder
   * ends: for jobs that must not run twice on machines whose clocks differ. A linger counts from the
   * release; whichever of the two ends later counts. Unset: 0. At most 1 h. A reattach keeps what was
   * granted. That of a SHARED lock closes its permit alone, as a linger does.
   *
   * @generated from field: google.protobuf.Duration min_hold = 8;
   */
  minHold?: Duration | undefined;

  /**
   * What the holder tells those who Observe the lock: a leader's address, say. At most 1,024 bytes, of any kind; it may be empty. Unset:
   * none, and UpdateLock gives it none. INVALID_ARGUMENT for a SHARED lock or a lease. It is no secret. Each reattach says it anew.
   * Best effort: those who observe may see none for a while, and never that of another grant.
   *
   * @generated from field: optional bytes value = 7;
   */
  value?: Uint8Array | undefined;
};

/**
 * Describes the message lockbroker.v1.LockSpec.
 * Use `create(LockSpecSchema)` to create a new message.
 */
export const LockSpecSchema: GenMessage<LockSpec> = /*@__PURE__*/
  messageDesc(file_lockbroker_v1_lockbroker, 0);

/**
 * The two ways in which a lock can outlive its stream, or not.
 *
 * @generated from enum lockbroker.v1.LockSpec.OnDisconnect
 */
export enum LockSpec_OnDisconnect {
  /**
   * As RELEASE.
   *
   * @generated from enum value: ON_DISCONNECT_UNSPECIFIED = 0;
   */
  UNSPECIFIED = 0,

  /**
   * A stream that is closed, by the client or by a proxy between, releases the lock at once.
   *
   * @generated from enum value: ON_DISCONNECT_RELEASE = 1;
   */
  RELEASE = 1,

  /**
   * The lock is kept until its validity is over, however the stream ends. So the client can reattach, and
   * a proxy that ends streams costs no lock (but one that ends the stream of a reattach that is under way).
   * EndLock and Release still release it at once. If the client
   * dies, others wait until its validity is over. AcquireLease does not take this: a lease has no stream.
   *
   * @generated from enum value: ON_DISCONNECT_KEEP = 2;
   */
  KEEP = 2,
}

/**
 * Describes the enum lockbroker.v1.LockSpec.OnDisconnect.
 */
export const LockSpec_OnDisconnectSchema: GenEnum<LockSpec_OnDisconnect> = /*@__PURE__*/
  enumDesc(file_lockbroker_v1_lockbroker, 0, 0);

/**
 * The two ways to have a lock.
 *
 * @generated from enum lockbroker.v1.LockSpec.Mode
 */
export enum LockSpec_Mode {
  /**
   * As EXCLUSIVE.
   *
   * @generated from enum value: MODE_UNSPECIFIED = 0;
   */
  UNSPECIFIED = 0,

  /**
   * Nobody else has the lock at the same time.
   *
   * @generated from enum value: MODE_EXCLUSIVE = 1;
   */
  EXCLUSIVE = 1,

  /**
   * Others who ask for it as SHARED may have the lock at the same time, each with a permit of its own, up to `limit` of
   * them. Nobody has it EXCLUSIVE meanwhile. One who waits for it EXCLUSIVE lets no new ones in, and gets it when all
   * who share it have gone.
   *
   * @generated from enum value: MODE_SHARED = 2;
   */
  SHARED = 2,
}

/**
 * Describes the enum lockbroker.v1.LockSpec.Mode.
 */
export const LockSpec_ModeSchema: GenEnum<LockSpec_Mode> = /*@__PURE__*/
  enumDesc(file_lockbroker_v1_lockbroker, 0, 1);

/**
 * The way to wait for a lock.
 *
 * @generated from message lockbroker.v1.WaitSpec
 */
export type WaitSpec = Message<"lockbroker.v1.WaitSpec"> & {
  /**
   * The longest wait, from when the request arrived, exact to 50 ms. The answer comes up to 100 ms
   * later if the store is slow to say who holds the lock. 0 tries once. Unset, or 365 days and more
   * (also more than protobuf allows): until the client leaves.
   *
   * @generated from field: google.protobuf.Duration max_wait = 1;
   */
  maxWait?: Duration | undefined;

  /**
   * The least time between two polls of a lock that another broker holds. Each poll comes after 1.0
   * to 1.2 times that. Only the first in a broker's queue polls, by its own interval, which begins
   * when it becomes the first; those behind wait for it. If a holder at the same broker is released
   * at another one, the broker finds out after such an interval, too. 1 ms to 1 h. Unset: the broker
   * chooses (100 ms unless it was started otherwise).
   *
   * @generated from field: google.protobuf.Duration poll_interval = 2;
   */
  pollInterval?: Duration | undefined;
};

/**
 * Describes the message lockbroker.v1.WaitSpec.
 * Use `create(WaitSpecSchema)` to create a new message.
 */
export const WaitSpecSchema: GenMessage<WaitSpec> = /*@__PURE__*/
  messageDesc(file_lockbroker_v1_lockbroker, 1);

/**
 * Asks for a lock, once.
 *
 * @generated from message lockbroker.v1.AcquireRequest
 */
export type AcquireRequest = Message<"lockbroker.v1.AcquireRequest"> & {
  /**
   * The lock.
   *
   * @generated from field: lockbroker.v1.LockSpec lock = 1;
   */
  lock?: LockSpec | undefined;

  /**
   * The time for which a grant stands without renewal. Unset: the broker's default (15 s). 5 s up to
   * the broker's --max-ttl (15 s unless it was started otherwise).
   *
   * @generated from field: google.protobuf.Duration ttl = 2;
   */
  ttl?: Duration | undefined;

  /**
   * If set, the call takes over the grant that this lock id names, instead of asking for a new one.
   * Use it after a broken stream or `draining`. The grant keeps its fencing token and gets a new lock
   * id.
   *
   * @generated from field: string reattach_lock_id = 3;
   */
  reattachLockId: string;
};

/**
 * Describes the message lockbroker.v1.AcquireRequest.
 * Use `create(AcquireRequestSchema)` to create a new message.
 */
export const AcquireRequestSchema: GenMessage<AcquireRequest> = /*@__PURE__*/
  messageDesc(file_lockbroker_v1_lockbroker, 2);

/**
 * Asks for a lock and waits for it.
 *
 * @generated from message lockbroker.v1.WaitAcquireRequest
 */
export type WaitAcquireRequest = Message<"lockbroker.v1.WaitAcquireRequest"> & {
  /**
   * The lock.
   *
   * @generated from field: lockbroker.v1.LockSpec lock = 1;
   */
  lock?: LockSpec | undefined;

  /**
   * The ttl, as in AcquireRequest.
   *
   * @generated from field: google.protobuf.Duration ttl = 2;
   */
  ttl?: Duration | undefined;

  /**
   * The way to wait. Unset: as a WaitSpec with nothing set.
   *
   * @generated from field: lockbroker.v1.WaitSpec wait = 3;
   */
  wait?: WaitSpec | undefined;
};

/**
 * Describes the message lockbroker.v1.WaitAcquireRequest.
 * Use `create(WaitAcquireRequestSchema)` to create a new message.
 */
export const WaitAcquireRequestSchema: GenMessage<WaitAcquireRequest> = /*@__PURE__*/
  messageDesc(file_lockbroker_v1_lockbroker, 3);

/**
 * One event on an Acquire stream.
 *
 * @generated from message lockbroker.v1.AcquireResponse
 */
export type AcquireResponse = Message<"lockbroker.v1.AcquireResponse"> & {
  /**
   * Always set.
   *
   * @generated from field: lockbroker.v1.LockEvent event = 1;
   */
  event?: LockEvent | undefined;
};

/**
 * Describes the message lockbroker.v1.AcquireResponse.
 * Use `create(AcquireResponseSchema)` to create a new message.
 */
export const AcquireResponseSchema: GenMessage<AcquireResponse> = /*@__PURE__*/
  messageDesc(file_lockbroker_v1_lockbroker, 4);

/**
 * One event on a WaitAcquire stream.
 *
 * @generated from message lockbroker.v1.WaitAcquireResponse
 */
export type WaitAcquireResponse = Message<"lockbroker.v1.WaitAcquireResponse"> & {
  /**
   * Always set.
   *
   * @generated from field: lockbroker.v1.LockEvent event = 1;
   */
  event?: LockEvent | undefined;
};

/**
 * Describes the message lockbroker.v1.WaitAcquireResponse.
 * Use `create(WaitAcquireResponseSchema)` to create a new message.
 */
export const WaitAcquireResponseSchema: GenMessage<WaitAcquireResponse> = /*@__PURE__*/
  messageDesc(file_lockbroker_v1_lockbroker, 5);

/**
 * An event of a lock.
 *
 * @generated from message lockbroker.v1.LockEvent
 */
export type LockEvent = Message<"lockbroker.v1.LockEvent"> & {
  /**
   * Exactly one is set. A client ignores kinds that it does not know.
   *
   * @generated from oneof lockbroker.v1.LockEvent.kind
   */
  kind: {
    /**
     * The lock is held.
     *
     * @generated from field: lockbroker.v1.Acquired acquired = 1;
     */
    value: Acquired;
    case: "acquired";
  } | {
    /**
     * The lock was not acquired; the last event.
     *
     * @generated from field: lockbroker.v1.NotAcquired not_acquired = 2;
     */
    value: NotAcquired;
    case: "notAcquired";
  } | {
    /**
     * The request waits in a queue.
     *
     * @generated from field: lockbroker.v1.Queued queued = 3;
     */
    value: Queued;
    case: "queued";
  } | {
    /**
     * The grant was renewed (Acquire and WaitAcquire; a Session has `heartbeat_ack`).
     *
     * @generated from field: lockbroker.v1.Renewed renewed = 4;
     */
    value: Renewed;
    case: "renewed";
  } | {
    /**
     * The lock is lost; the last event, and the status that follows is ABORTED.
     *
     * @generated from field: lockbroker.v1.Lost lost = 5;
     */
    value: Lost;
    case: "lost";
  } | {
    /**
     * The lock was released by a Release call at this broker or by EndLock; the last event.
     *
     * @generated from field: lockbroker.v1.Released released = 6;
     */
    value: Released;
    case: "released";
  } | {
    /**
     * This broker is going away.
     *
     * @generated from field: lockbroker.v1.Draining draining = 7;
     */
    value: Draining;
    case: "draining";
  } | {
    /**
     * This lock of a Session failed while the others go on; the last event of its lock_ref.
     *
     * @generated from field: lockbroker.v1.Failed failed = 8;
     */
    value: Failed;
    case: "failed";
  } | { case: undefined; value?: undefined };
};

/**
 * Describes the message lockbroker.v1.LockEvent.
 * Use `create(LockEventSchema)` to create a new message.
 */
export const LockEventSchema: GenMessage<LockEvent> = /*@__PURE__*/
  messageDesc(file_lockbroker_v1_lockbroker, 6);

/**
 * The lock is held from now on.
 *
 * @generated from message lockbroker.v1.Acquired
 */
export type Acquired = Message<"lockbroker.v1.Acquired"> & {
  /**
   * Names the grant: 36 characters, 7 more if the lock has a `min_hold`, and 4 more if it is SHARED. It is a capability; whoever has it can release the lock. Keep it
   * out of logs.
   *
   * @generated from field: string lock_id = 1;
   */
  lockId: string;

  /**
   * Rises strictly with every grant of the same name; below 2^53. Whatever the lock protects should
   * refuse a token below the highest that it has seen. Where several have a SHARED lock at a time, it refuses a token
   * below the highest of those with the same `permit`, or below that of the last EXCLUSIVE holder.
   *
   * @generated from field: int64 fencing_token = 2;
   */
  fencingToken: bigint;

  /**
   * The holder may act until this long after it *sent* the request, not after this event came. A
   * WaitAcquire granted after 40 s with a ttl of 15 s says some 53 s: 13 of them are left. Unset in a
   * Session, where the latest `heartbeat_ack` covers the lock.
   *
   * @generated from field: google.protobuf.Duration expires_after_request = 3;
   */
  expiresAfterRequest?: Duration | undefined;

  /**
   * Set if the lock is SHARED: the number of the holder's permit, from 0 up to `limit` - 1. Nobody else has the same permit
   * of this name at the same time, as nobody else has an EXCLUSIVE lock. So it can name a worker, a port or a slot of
   * work. It stays the same when the lock is reattached. The lowest free one is not always given.
   *
   * @generated from field: optional int32 permit = 4;
   */
  permit?: number | undefined;

  /**
   * The locks of `BeginLock.also`, in its order. To release them by their ids, call Release for each.
   *
   * @generated from field: repeated lockbroker.v1.AlsoAcquired also = 5;
   */
  also: AlsoAcquired[];
};

/**
 * Describes the message lockbroker.v1.Acquired.
 * Use `create(AcquiredSchema)` to create a new message.
 */
export const AcquiredSchema: GenMessage<Acquired> = /*@__PURE__*/
  messageDesc(file_lockbroker_v1_lockbroker, 7);

/**
 * One more lock that is held from now on.
 *
 * @generated from message lockbroker.v1.AlsoAcquired
 */
export type AlsoAcquired = Message<"lockbroker.v1.AlsoAcquired"> & {
  /**
   * The lock id, as in Acquired.
   *
   * @generated from field: string lock_id = 1;
   */
  lockId: string;

  /**
   * The fencing token, as in Acquired. Tokens of different names say nothing about each other.
   *
   * @generated from field: int64 fencing_token = 2;
   */
  fencingToken: bigint;

  /**
   * The permit, as in Acquired.
   *
   * @generated from field: optional int32 permit = 3;
   */
  permit?: number | undefined;
};

/**
 * Describes the message lockbroker.v1.AlsoAcquired.
 * Use `create(AlsoAcquiredSchema)` to create a new message.
 */
export const AlsoAcquiredSchema: GenMessage<AlsoAcquired> = /*@__PURE__*/
  messageDesc(file_lockbroker_v1_lockbroker, 8);

/**
 * The lock was not acquired.
 *
 * @generated from message lockbroker.v1.NotAcquired
 */
export type NotAcquired = Message<"lockbroker.v1.NotAcquired"> & {
  /**
   * The reason.
   *
   * @generated from field: lockbroker.v1.NotAcquired.Reason reason = 1;
   */
  reason: NotAcquired_Reason;

  /**
   * The owner label of whoever held it when the broker looked, where known and given.
   *
   * @generated from field: string owner = 2;
   */
  owner: string;

  /**
   * Of several locks (`BeginLock.also`): the name of the one for which none was acquired. Empty otherwise.
   *
   * @generated from field: string name = 3;
   */
  name: string;
};

/**
 * Describes the message lockbroker.v1.NotAcquired.
 * Use `create(NotAcquiredSchema)` to create a new message.
 */
export const NotAcquiredSchema: GenMessage<NotAcquired> = /*@__PURE__*/
  messageDesc(file_lockbroker_v1_lockbroker, 9);

/**
 * The reason for which a lock was not acquired.
 *
 * @generated from enum lockbroker.v1.NotAcquired.Reason
 */
export enum NotAcquired_Reason {
  /**
   * Never sent.
   *
   * @generated from enum value: REASON_UNSPECIFIED = 0;
   */
  UNSPECIFIED = 0,

  /**
   * Somebody holds it: EXCLUSIVE, or, where it is asked for EXCLUSIVE, SHARED. Where it is asked for SHARED: or every permit
   * below the `limit` is taken.
   *
   * @generated from enum value: REASON_HELD = 1;
   */
  HELD = 1,

  /**
   * It was released and lingers, or its `min_hold` is not over, or it was revoked and is still closed.
   * GetLock says which, and for how long.
   *
   * @generated from enum value: REASON_LINGERING = 2;
   */
  LINGERING = 2,

  /**
   * `max_wait` is over.
   *
   * @generated from enum value: REASON_MAX_WAIT = 3;
   */
  MAX_WAIT = 3,

  /**
   * EndLock came before the grant.
   *
   * @generated from enum value: REASON_CANCELLED = 4;
   */
  CANCELLED = 4,

  /**
   * The grant named by `reattach_lock_id` has ended.
   *
   * @generated from enum value: REASON_NOT_REATTACHABLE = 5;
   */
  NOT_REATTACHABLE = 5,
}

/**
 * Describes the enum lockbroker.v1.NotAcquired.Reason.
 */
export const NotAcquired_ReasonSchema: GenEnum<NotAcquired_Reason> = /*@__PURE__*/
  enumDesc(file_lockbroker_v1_lockbroker, 9, 0);

/**
 * The request waits in a queue.
 *
 * @generated from message lockbroker.v1.Queued
 */
export type Queued = Message<"lockbroker.v1.Queued"> & {
  /**
   * The place among this broker's waiters for the name; the first is 1. Other brokers have queues of
   * their own, so it does not tell who is next.
   *
   * @generated from field: int32 position = 1;
   */
  position: number;
};

/**
 * Describes the message lockbroker.v1.Queued.
 * Use `create(QueuedSchema)` to create a new message.
 */
export const QueuedSchema: GenMessage<Queued> = /*@__PURE__*/
  messageDesc(file_lockbroker_v1_lockbroker, 10);

/**
 * The grant was renewed.
 *
 * @generated from message lockbroker.v1.Renewed
 */
export type Renewed = Message<"lockbroker.v1.Renewed"> & {
  /**
   * The validity as in Acquired, from the same request: so on a stream it grows with every renewal (13 s,
   * 18 s, 23 s, ...). Since clocks may run apart, it is shorter by 0.72 s for each hour since the request.
   * To hold a lock for hours, use a Session, or ask GetLock with the lock id: its answer counts from
   * that request.
   *
   * @generated from field: google.protobuf.Duration expires_after_request = 1;
   */
  expiresAfterRequest?: Duration | undefined;
};

/**
 * Describes the message lockbroker.v1.Renewed.
 * Use `create(RenewedSchema)` to create a new message.
 */
export const RenewedSchema: GenMessage<Renewed> = /*@__PURE__*/
  messageDesc(file_lockbroker_v1_lockbroker, 11);

/**
 * The lock is lost: stop what it protects. After EXPIRED that is to be done within a thirtieth of the
 * ttl, for which the lock is still kept from others. No later answer makes the lock valid again.
 *
 * @generated from message lockbroker.v1.Lost
 */
export type Lost = Message<"lockbroker.v1.Lost"> & {
  /**
   * The reason.
   *
   * @generated from field: lockbroker.v1.Lost.Reason reason = 1;
   */
  reason: Lost_Reason;

  /**
   * Of several locks (`BeginLock.also`): the name of the one that is lost. None of the others may be relied on. Empty otherwise.
   *
   * @generated from field: string name = 2;
   */
  name: string;
};

/**
 * Describes the message lockbroker.v1.Lost.
 * Use `create(LostSchema)` to create a new message.
 */
export const LostSchema: GenMessage<Lost> = /*@__PURE__*/
  messageDesc(file_lockbroker_v1_lockbroker, 12);

/**
 * The reason for which a lock was lost.
 *
 * @generated from enum lockbroker.v1.Lost.Reason
 */
export enum Lost_Reason {
  /**
   * Never sent.
   *
   * @generated from enum value: REASON_UNSPECIFIED = 0;
   */
  UNSPECIFIED = 0,

  /**
   * No renewal got through in time.
   *
   * @generated from enum value: REASON_EXPIRED = 1;
   */
  EXPIRED = 1,

  /**
   * The store no longer has the grant; somebody released it elsewhere, for instance.
   *
   * @generated from enum value: REASON_GONE = 2;
   */
  GONE = 2,

  /**
   * The store has another grant in its place: reattached elsewhere, or released and granted anew.
   *
   * @generated from enum value: REASON_TAKEN_OVER = 3;
   */
  TAKEN_OVER = 3,

  /**
   * An operator revoked it.
   *
   * @generated from enum value: REASON_REVOKED = 4;
   */
  REVOKED = 4,
}

/**
 * Describes the enum lockbroker.v1.Lost.Reason.
 */
export const Lost_ReasonSchema: GenEnum<Lost_Reason> = /*@__PURE__*/
  enumDesc(file_lockbroker_v1_lockbroker, 12, 0);

/**
 * The lock was released as asked.
 *
 * @generated from message lockbroker.v1.Released
 */
export type Released = Message<"lockbroker.v1.Released"> & {
};

/**
 * Describes the message lockbroker.v1.Released.
 * Use `create(ReleasedSchema)` to create a new message.
 */
export const ReleasedSchema: GenMessage<Released> = /*@__PURE__*/
  messageDesc(file_lockbroker_v1_lockbroker, 13);

/**
 * This broker is going away; reattach on a new connection, then end this stream.
 *
 * @generated from message lockbroker.v1.Draining
 */
export type Draining = Message<"lockbroker.v1.Draining"> & {
  /**
   * The longest time for which this broker goes on renewing, from when it sent this. It may end earlier,
   * so reattach at once instead of waiting for it.
   *
   * @generated from field: google.protobuf.Duration grace = 1;
   */
  grace?: Duration | undefined;
};

/**
 * Describes the message lockbroker.v1.Draining.
 * Use `create(DrainingSchema)` to create a new message.
 */
export const DrainingSchema: GenMessage<Draining> = /*@__PURE__*/
  messageDesc(file_lockbroker_v1_lockbroker, 14);

/**
 * One lock of a Session failed.
 *
 * @generated from message lockbroker.v1.Failed
 */
export type Failed = Message<"lockbroker.v1.Failed"> & {
  /**
   * The number of a google.rpc.Code: the status that Acquire or WaitAcquire would have ended with.
   *
   * @generated from field: int32 code = 1;
   */
  code: number;

  /**
   * The explanation, for the person who reads it.
   *
   * @generated from field: string message = 2;
   */
  message: string;

  /**
   * The time after which a new try makes sense, from when this came. Unset: not known.
   *
   * @generated from field: google.protobuf.Duration retry_after = 3;
   */
  retryAfter?: Duration | undefined;

  /**
   * The reason, for programs: one of google.rpc.ErrorInfo, as listed at the top.
   *
   * @generated from field: string reason = 4;
   */
  reason: string;
};

/**
 * Describes the message lockbroker.v1.Failed.
 * Use `create(FailedSchema)` to create a new message.
 */
export const FailedSchema: GenMessage<Failed> = /*@__PURE__*/
  messageDesc(file_lockbroker_v1_lockbroker, 15);

/**
 * Asks for a lease.
 *
 * @generated from message lockbroker.v1.AcquireLeaseRequest
 */
export type AcquireLeaseRequest = Message<"lockbroker.v1.AcquireLeaseRequest"> & {
  /**
   * The lock.
   *
   * @generated from field: lockbroker.v1.LockSpec lock = 1;
   */
  lock?: LockSpec | undefined;

  /**
   * The ttl, as in AcquireRequest. It stays the same for as long as the lease is renewed.
   *
   * @generated from field: google.protobuf.Duration ttl = 2;
   */
  ttl?: Duration | undefined;

  /**
   * The way to wait, for at most 30 s: that is also the wait where `wait.max_wait` is unset. If `wait`
   * is unset: try once.
   *
   * @generated from field: lockbroker.v1.WaitSpec wait = 3;
   */
  wait?: WaitSpec | undefined;

  /**
   * A name for this call, so that it can be repeated after an answer that did not come: the same call
   * with the same `request_id`, at any broker, is answered with the lease that it has got already. A
   * random UUID (version 4 or 7), made anew for each lease. Two calls that share one share the lease!
   * Unset: if the answer is lost, the lock stands for its ttl, and nobody knows its id. A SHARED lease is looked for
   * among the permits 0 to 63: with a higher `limit`, a call that is repeated may get another permit, and the
   * first one stands for its ttl.
   *
   * @generated from field: string request_id = 4;
   */
  requestId: string;
};

/**
 * Describes the message lockbroker.v1.AcquireLeaseRequest.
 * Use `create(AcquireLeaseRequestSchema)` to create a new message.
 */
export const AcquireLeaseRequestSchema: GenMessage<AcquireLeaseRequest> = /*@__PURE__*/
  messageDesc(file_lockbroker_v1_lockbroker, 16);

/**
 * The answer to AcquireLease.
 *
 * @generated from message lockbroker.v1.AcquireLeaseResponse
 */
export type AcquireLeaseResponse = Message<"lockbroker.v1.AcquireLeaseResponse"> & {
  /**
   * Exactly one is set.
   *
   * @generated from oneof lockbroker.v1.AcquireLeaseResponse.result
   */
  result: {
    /**
     * The lease. Its `lock_id` is longer than that of a lock on a stream, and RenewLease takes no other.
     * It is also good for Release, GetLock, and `reattach_lock_id`, which makes the lease a stream's lock.
     *
     * @generated from field: lockbroker.v1.Acquired acquired = 1;
     */
    value: Acquired;
    case: "acquired";
  } | {
    /**
     * The lock was not acquired.
     *
     * @generated from field: lockbroker.v1.NotAcquired not_acquired = 2;
     */
    value: NotAcquired;
    case: "notAcquired";
  } | { case: undefined; value?: undefined };
};

/**
 * Describes the message lockbroker.v1.AcquireLeaseResponse.
 * Use `create(AcquireLeaseResponseSchema)` to create a new message.
 */
export const AcquireLeaseResponseSchema: GenMessage<AcquireLeaseResponse> = /*@__PURE__*/
  messageDesc(file_lockbroker_v1_lockbroker, 17);

/**
 * Asks to renew a lease.
 *
 * @generated from message lockbroker.v1.RenewLeaseRequest
 */
export type RenewLeaseRequest = Message<"lockbroker.v1.RenewLeaseRequest"> & {
  /**
   * The lock's name.
   *
   * @generated from field: string name = 1;
   */
  name: string;

  /**
   * The lock id, from AcquireLease.
   *
   * @generated from field: string lock_id = 2;
   */
  lockId: string;
};

/**
 * Describes the message lockbroker.v1.RenewLeaseRequest.
 * Use `create(RenewLeaseRequestSchema)` to create a new message.
 */
export const RenewLeaseRequestSchema: GenMessage<RenewLeaseRequest> = /*@__PURE__*/
  messageDesc(file_lockbroker_v1_lockbroker, 18);

/**
 * The answer to RenewLease.
 *
 * @generated from message lockbroker.v1.RenewLeaseResponse
 */
export type RenewLeaseResponse = Message<"lockbroker.v1.RenewLeaseResponse"> & {
  /**
   * Exactly one is set.
   *
   * @generated from oneof lockbroker.v1.RenewLeaseResponse.result
   */
  result: {
    /**
     * The lease is good: `expires_after_request` counts from when the client sent this RenewLeaseRequest.
     *
     * @generated from field: lockbroker.v1.Renewed renewed = 1;
     */
    value: Renewed;
    case: "renewed";
  } | {
    /**
     * The lease is lost: it has run out, or somebody ended it.
     *
     * @generated from field: lockbroker.v1.Lost lost = 2;
     */
    value: Lost;
    case: "lost";
  } | { case: undefined; value?: undefined };
};

/**
 * Describes the message lockbroker.v1.RenewLeaseResponse.
 * Use `create(RenewLeaseResponseSchema)` to create a new message.
 */
export const RenewLeaseResponseSchema: GenMessage<RenewLeaseResponse> = /*@__PURE__*/
  messageDesc(file_lockbroker_v1_lockbroker, 19);

/**
 * Asks to release a lock.
 *
 * @generated from message lockbroker.v1.ReleaseRequest
 */
export type ReleaseRequest = Message<"lockbroker.v1.ReleaseRequest"> & {
  /**
   * The lock's name, as in LockSpec.
   *
   * @generated from field: string name = 1;
   */
  name: string;

  /**
   * The lock id, from Acquired.
   *
   * @generated from field: string lock_id = 2;
   */
  lockId: string;
};

/**
 * Describes the message lockbroker.v1.ReleaseRequest.
 * Use `create(ReleaseRequestSchema)` to create a new message.
 */
export const ReleaseRequestSchema: GenMessage<ReleaseRequest> = /*@__PURE__*/
  messageDesc(file_lockbroker_v1_lockbroker, 20);

/**
 * The effect of a Release.
 *
 * @generated from message lockbroker.v1.ReleaseResponse
 */
export type ReleaseResponse = Message<"lockbroker.v1.ReleaseResponse"> & {
  /**
   * The effect.
   *
   * @generated from field: lockbroker.v1.ReleaseResponse.Outcome outcome = 1;
   */
  outcome: ReleaseResponse_Outcome;
};

/**
 * Describes the message lockbroker.v1.ReleaseResponse.
 * Use `create(ReleaseResponseSchema)` to create a new message.
 */
export const ReleaseResponseSchema: GenMessage<ReleaseResponse> = /*@__PURE__*/
  messageDesc(file_lockbroker_v1_lockbroker, 21);

/**
 * The effect of a Release.
 *
 * @generated from enum lockbroker.v1.ReleaseResponse.Outcome
 */
export enum ReleaseResponse_Outcome {
  /**
   * Never sent.
   *
   * @generated from enum value: OUTCOME_UNSPECIFIED = 0;
   */
  UNSPECIFIED = 0,

  /**
   * The grant was ended by this call.
   *
   * @generated from enum value: OUTCOME_RELEASED = 1;
   */
  RELEASED = 1,

  /**
   * Nobody holds the lock.
   *
   * @generated from enum value: OUTCOME_NOT_HELD = 2;
   */
  NOT_HELD = 2,

  /**
   * Somebody else holds the lock; untouched.
   *
   * @generated from enum value: OUTCOME_HELD_BY_ANOTHER = 3;
   */
  HELD_BY_ANOTHER = 3,
}

/**
 * Describes the enum lockbroker.v1.ReleaseResponse.Outcome.
 */
export const ReleaseResponse_OutcomeSchema: GenEnum<ReleaseResponse_Outcome> = /*@__PURE__*/
  enumDesc(file_lockbroker_v1_lockbroker, 21, 0);

/**
 * Asks about a lock.
 *
 * @generated from message lockbroker.v1.GetLockRequest
 */
export type GetLockRequest = Message<"lockbroker.v1.GetLockRequest"> & {
  /**
   * The lock's name, as in LockSpec.
   *
   * @generated from field: string name = 1;
   */
  name: string;

  /**
   * The lock id, from Acquired. If set, and if it names the present grant and this broker keeps it,
   * the answer carries `expires_after_request`. That of a SHARED lock is looked up at its permit.
   *
   * @generated from field: string lock_id = 2;
   */
  lockId: string;

  /**
   * The permit to look at, 0 to 4,095, of a lock that is SHARED. Unset: the permit of `lock_id`; without one, the lock itself.
   * INVALID_ARGUMENT if `lock_id` names another one.
   *
   * @generated from field: optional int32 permit = 3;
   */
  permit?: number | undefined;
};

/**
 * Describes the message lockbroker.v1.GetLockRequest.
 * Use `create(GetLockRequestSchema)` to create a new message.
 */
export const GetLockRequestSchema: GenMessage<GetLockRequest> = /*@__PURE__*/
  messageDesc(file_lockbroker_v1_lockbroker, 22);

/**
 * The state of a lock.
 *
 * @generated from message lockbroker.v1.GetLockResponse
 */
export type GetLockResponse = Message<"lockbroker.v1.GetLockResponse"> & {
  /**
   * The state of a lock.
   *
   * @generated from field: lockbroker.v1.GetLockResponse.State state = 1;
   */
  state: GetLockResponse_State;

  /**
   * The holder's label, where known and given. Unset for a lock that is SHARED: each permit has a label of its own.
   *
   * @generated from field: string owner = 2;
   */
  owner: string;

  /**
   * The lock is free this long after the broker looked, at the latest, if nobody renews it. For those who
   * wait; a holder's validity ends earlier. Unset when free. Of a lock that is SHARED: until the last permit is free.
   *
   * @generated from field: google.protobuf.Duration free_within = 3;
   */
  freeWithin?: Duration | undefined;

  /**
   * The lock id is valid until this long after the client sent this GetLockRequest.
   *
   * @generated from field: google.protobuf.Duration expires_after_request = 4;
   */
  expiresAfterRequest?: Duration | undefined;

  /**
   * The number of permits that are held, if the lock is SHARED: of the permits from 0 on, up to the first row of 64 that nobody
   * has. Always 0 where the call names a permit, or a lock id: all the rest is about that permit then, and
   * `state` says if somebody has it.
   *
   * @generated from field: int32 shared_count = 5;
   */
  sharedCount: number;

  /**
   * The holder's fencing token, where known. Unset: 0.
   *
   * @generated from field: int64 fencing_token = 6;
   */
  fencingToken: bigint;

  /**
   * The time since the lock was granted or last reattached, where known. Where another broker granted
   * it, this is as exact as the wall clocks of the two.
   *
   * @generated from field: google.protobuf.Duration held_for = 7;
   */
  heldFor?: Duration | undefined;

  /**
   * Names what the lock is now, for RevokeLock: a grant, or a linger. It is no secret. Unset when free, and of a
   * lock that is SHARED, where each permit has one of its own.
   *
   * @generated from field: string etag = 8;
   */
  etag: string;

  /**
   * True if the lock is SHARED, and somebody waits for those who share it and lets no new ones in: one who wants it EXCLUSIVE, or
   * several permits. ListWaiters tells who. False where the call names a permit, or a lock id.
   *
   * @generated from field: bool claimed = 9;
   */
  claimed: boolean;
};

/**
 * Describes the message lockbroker.v1.GetLockResponse.
 * Use `create(GetLockResponseSchema)` to create a new message.
 */
export const GetLockResponseSchema: GenMessage<GetLockResponse> = /*@__PURE__*/
  messageDesc(file_lockbroker_v1_lockbroker, 23);

/**
 * The state of a lock.
 *
 * @generated from enum lockbroker.v1.GetLockResponse.State
 */
export enum GetLockResponse_State {
  /**
   * Never sent.
   *
   * @generated from enum value: STATE_UNSPECIFIED = 0;
   */
  UNSPECIFIED = 0,

  /**
   * Nobody has it.
   *
   * @generated from enum value: STATE_FREE = 1;
   */
  FREE = 1,

  /**
   * Somebody holds it. If it is SHARED, `shared_count` says how many.
   *
   * @generated from enum value: STATE_HELD = 2;
   */
  HELD = 2,

  /**
   * It was released and nobody can acquire it yet. If it was SHARED, its permits linger, and nobody can acquire it EXCLUSIVE.
   *
   * @generated from enum value: STATE_LINGERING = 3;
   */
  LINGERING = 3,

  /**
   * It was revoked, and nobody can acquire it until its holder no longer believes in it.
   *
   * @generated from enum value: STATE_REVOKED = 4;
   */
  REVOKED = 4,

  /**
   * Only in a ListLocksResponse: nobody holds it EXCLUSIVE. Somebody waits for those who share it, and lets no new ones in.
   *
   * @generated from enum value: STATE_CLAIMED = 5;
   */
  CLAIMED = 5,
}

/**
 * Describes the enum lockbroker.v1.GetLockResponse.State.
 */
export const GetLockResponse_StateSchema: GenEnum<GetLockResponse_State> = /*@__PURE__*/
  enumDesc(file_lockbroker_v1_lockbroker, 23, 0);

/**
 * Asks to give a lock another value.
 *
 * @generated from message lockbroker.v1.UpdateLockRequest
 */
export type UpdateLockRequest = Message<"lockbroker.v1.UpdateLockRequest"> & {
  /**
   * The lock's name, as in LockSpec.
   *
   * @generated from field: string name = 1;
   */
  name: string;

  /**
   * The lock id, from Acquired.
   *
   * @generated from field: string lock_id = 2;
   */
  lockId: string;

  /**
   * The value, as in LockSpec. Unset: an empty one.
   *
   * @generated from field: bytes value = 3;
   */
  value: Uint8Array;
};

/**
 * Describes the message lockbroker.v1.UpdateLockRequest.
 * Use `create(UpdateLockRequestSchema)` to create a new message.
 */
export const UpdateLockRequestSchema: GenMessage<UpdateLockRequest> = /*@__PURE__*/
  messageDesc(file_lockbroker_v1_lockbroker, 24);

/**
 * The effect of an UpdateLock.
 *
 * @generated from message lockbroker.v1.UpdateLockResponse
 */
export type UpdateLockResponse = Message<"lockbroker.v1.UpdateLockResponse"> & {
  /**
   * The effect.
   *
   * @generated from field: lockbroker.v1.UpdateLockResponse.Outcome outcome = 1;
   */
  outcome: UpdateLockResponse_Outcome;
};

/**
 * Describes the message lockbroker.v1.UpdateLockResponse.
 * Use `create(UpdateLockResponseSchema)` to create a new message.
 */
export const UpdateLockResponseSchema: GenMessage<UpdateLockResponse> = /*@__PURE__*/
  messageDesc(file_lockbroker_v1_lockbroker, 25);

/**
 * The effect of an UpdateLock.
 *
 * @generated from enum lockbroker.v1.UpdateLockResponse.Outcome
 */
export enum UpdateLockResponse_Outcome {
  /**
   * Never sent.
   *
   * @generated from enum value: OUTCOME_UNSPECIFIED = 0;
   */
  UNSPECIFIED = 0,

  /**
   * The lock has the new value.
   *
   * @generated from enum value: OUTCOME_UPDATED = 1;
   */
  UPDATED = 1,

  /**
   * Nobody holds the lock.
   *
   * @generated from enum value: OUTCOME_NOT_HELD = 2;
   */
  NOT_HELD = 2,

  /**
   * Somebody else holds the lock, or it was reattached under another lock id; untouched.
   *
   * @generated from enum value: OUTCOME_HELD_BY_ANOTHER = 3;
   */
  HELD_BY_ANOTHER = 3,

  /**
   * The lock was asked for without a value. Only the broker that keeps the lock knows that.
   *
   * @generated from enum value: OUTCOME_NO_VALUE = 4;
   */
  NO_VALUE = 4,
}

/**
 * Describes the enum lockbroker.v1.UpdateLockResponse.Outcome.
 */
export const UpdateLockResponse_OutcomeSchema: GenEnum<UpdateLockResponse_Outcome> = /*@__PURE__*/
  enumDesc(file_lockbroker_v1_lockbroker, 25, 0);

/**
 * Asks to observe a lock.
 *
 * @generated from message lockbroker.v1.ObserveRequest
 */
export type ObserveRequest = Message<"lockbroker.v1.ObserveRequest"> & {
  /**
   * The lock's name, as in LockSpec.
   *
   * @generated from field: string name = 1;
   */
  name: string;
};

/**
 * Describes the message lockbroker.v1.ObserveRequest.
 * Use `create(ObserveRequestSchema)` to create a new message.
 */
export const ObserveRequestSchema: GenMessage<ObserveRequest> = /*@__PURE__*/
  messageDesc(file_lockbroker_v1_lockbroker, 26);

/**
 * The state of a lock, as far as the broker knows. One that is SHARED has no owner, value or token here.
 *
 * @generated from message lockbroker.v1.ObserveResponse
 */
export type ObserveResponse = Message<"lockbroker.v1.ObserveResponse"> & {
  /**
   * What it is.
   *
   * @generated from field: lockbroker.v1.ObserveResponse.State state = 1;
   */
  state: ObserveResponse_State;

  /**
   * The holder's label, where known and given.
   *
   * @generated from field: string owner = 2;
   */
  owner: string;

  /**
   * The holder's value, where known and given. Unset: there is none, or it is not known yet.
   *
   * @generated from field: optional bytes value = 3;
   */
  value?: Uint8Array | undefined;

  /**
   * The holder's fencing token, where known: always if there is a value. Unset: 0. It tells one holder from the next.
   *
   * @generated from field: int64 fencing_token = 4;
   */
  fencingToken: bigint;

  /**
   * The lock is free this long after the broker looked, at the latest, if nobody renews it. Unset when free or unknown.
   *
   * @generated from field: google.protobuf.Duration expires_in = 5;
   */
  expiresIn?: Duration | undefined;
};

/**
 * Describes the message lockbroker.v1.ObserveResponse.
 * Use `create(ObserveResponseSchema)` to create a new message.
 */
export const ObserveResponseSchema: GenMessage<ObserveResponse> = /*@__PURE__*/
  messageDesc(file_lockbroker_v1_lockbroker, 27);

/**
 * What a lock is.
 *
 * @generated from enum lockbroker.v1.ObserveResponse.State
 */
export enum ObserveResponse_State {
  /**
   * Never sent.
   *
   * @generated from enum value: STATE_UNSPECIFIED = 0;
   */
  UNSPECIFIED = 0,

  /**
   * The broker cannot tell: the store is away, or has lost its memory and does not grant yet. The lock may be held as before.
   *
   * @generated from enum value: STATE_UNKNOWN = 1;
   */
  UNKNOWN = 1,

  /**
   * Nobody has it.
   *
   * @generated from enum value: STATE_FREE = 2;
   */
  FREE = 2,

  /**
   * Somebody holds it, or several share it.
   *
   * @generated from enum value: STATE_HELD = 3;
   */
  HELD = 3,

  /**
   * It was released and nobody can acquire it yet.
   *
   * @generated from enum value: STATE_LINGERING = 4;
   */
  LINGERING = 4,

  /**
   * It was revoked, and nobody can acquire it until its holder no longer believes in it.
   *
   * @generated from enum value: STATE_REVOKED = 5;
   */
  REVOKED = 5,
}

/**
 * Describes the enum lockbroker.v1.ObserveResponse.State.
 */
export const ObserveResponse_StateSchema: GenEnum<ObserveResponse_State> = /*@__PURE__*/
  enumDesc(file_lockbroker_v1_lockbroker, 27, 0);

/**
 * A message on a Session, from the client.
 *
 * @generated from message lockbroker.v1.SessionRequest
 */
export type SessionRequest = Message<"lockbroker.v1.SessionRequest"> & {
  /**
   * Exactly one is set.
   *
   * @generated from oneof lockbroker.v1.SessionRequest.kind
   */
  kind: {
    /**
     * First, and once.
     *
     * @generated from field: lockbroker.v1.OpenSession open = 1;
     */
    value: OpenSession;
    case: "open";
  } | {
    /**
     * The sign of life; every `heartbeat_interval`.
     *
     * @generated from field: lockbroker.v1.Heartbeat heartbeat = 2;
     */
    value: Heartbeat;
    case: "heartbeat";
  } | {
    /**
     * Asks for a lock.
     *
     * @generated from field: lockbroker.v1.BeginLock begin = 3;
     */
    value: BeginLock;
    case: "begin";
  } | {
    /**
     * Gives up a lock, or the wait for it.
     *
     * @generated from field: lockbroker.v1.EndLock end = 4;
     */
    value: EndLock;
    case: "end";
  } | { case: undefined; value?: undefined };
};

/**
 * Describes the message lockbroker.v1.SessionRequest.
 * Use `create(SessionRequestSchema)` to create a new message.
 */
export const SessionRequestSchema: GenMessage<SessionRequest> = /*@__PURE__*/
  messageDesc(file_lockbroker_v1_lockbroker, 28);

/**
 * Opens a Session.
 *
 * @generated from message lockbroker.v1.OpenSession
 */
export type OpenSession = Message<"lockbroker.v1.OpenSession"> & {
  /**
   * The ttl of all its locks, as in AcquireRequest.
   *
   * @generated from field: google.protobuf.Duration ttl = 1;
   */
  ttl?: Duration | undefined;
};

/**
 * Describes the message lockbroker.v1.OpenSession.
 * Use `create(OpenSessionSchema)` to create a new message.
 */
export const OpenSessionSchema: GenMessage<OpenSession> = /*@__PURE__*/
  messageDesc(file_lockbroker_v1_lockbroker, 29);

/**
 * The client lives.
 *
 * @generated from message lockbroker.v1.Heartbeat
 */
export type Heartbeat = Message<"lockbroker.v1.Heartbeat"> & {
  /**
   * 1 or more, and above that of every earlier heartbeat of this stream.
   *
   * @generated from field: int64 seq = 1;
   */
  seq: bigint;
};

/**
 * Describes the message lockbroker.v1.Heartbeat.
 * Use `create(HeartbeatSchema)` to create a new message.
 */
export const HeartbeatSchema: GenMessage<Heartbeat> = /*@__PURE__*/
  messageDesc(file_lockbroker_v1_lockbroker, 30);

/**
 * Asks for a lock on a Session.
 *
 * @generated from message lockbroker.v1.BeginLock
 */
export type BeginLock = Message<"lockbroker.v1.BeginLock"> & {
  /**
   * The client's handle for the lock on this stream: 1 or more, and above every earlier one.
   *
   * @generated from field: int64 lock_ref = 1;
   */
  lockRef: bigint;

  /**
   * The lock.
   *
   * @generated from field: lockbroker.v1.LockSpec lock = 2;
   */
  lock?: LockSpec | undefined;

  /**
   * The way to wait; unset: try once.
   *
   * @generated from field: lockbroker.v1.WaitSpec wait = 3;
   */
  wait?: WaitSpec | undefined;

  /**
   * The lock id to reattach, as in AcquireRequest. Not together with `wait`.
   *
   * @generated from field: string reattach_lock_id = 4;
   */
  reattachLockId: string;

  /**
   * Other locks that are wanted together with `lock`: all of them or none, by this one handle. At most 15, all with
   * different names, and without `min_hold` and `value`. A reattach may name several permits of one lock. Requests for
   * several never wait for each other in a circle, whatever the order in which they name them. `max_wait` is for all
   * together. A client that waits may hold some of them before it has all; others see those as held. When one is lost,
   * all are; the others stay closed until their validity is over, or EndLock.
   *
   * @generated from field: repeated lockbroker.v1.AlsoLock also = 5;
   */
  also: AlsoLock[];
};

/**
 * Describes the message lockbroker.v1.BeginLock.
 * Use `create(BeginLockSchema)` to create a new message.
 */
export const BeginLockSchema: GenMessage<BeginLock> = /*@__PURE__*/
  messageDesc(file_lockbroker_v1_lockbroker, 31);

/**
 * One more lock of a BeginLock.
 *
 * @generated from message lockbroker.v1.AlsoLock
 */
export type AlsoLock = Message<"lockbroker.v1.AlsoLock"> & {
  /**
   * The lock.
   *
   * @generated from field: lockbroker.v1.LockSpec lock = 1;
   */
  lock?: LockSpec | undefined;

  /**
   * The lock id to reattach: set in all of a BeginLock's locks, or in none.
   *
   * @generated from field: string reattach_lock_id = 2;
   */
  reattachLockId: string;
};

/**
 * Describes the message lockbroker.v1.AlsoLock.
 * Use `create(AlsoLockSchema)` to create a new message.
 */
export const AlsoLockSchema: GenMessage<AlsoLock> = /*@__PURE__*/
  messageDesc(file_lockbroker_v1_lockbroker, 32);

/**
 * Ends a lock on a Session: it is released (answered `released`), or its wait is over
 * (`not_acquired`, CANCELLED). A lock that was no longer held is answered `lost`. Ending what has
 * already ended does nothing, with one exception: after `lost` of several locks (`BeginLock.also`) it frees the others at once.
 * Send it then only when the program has stopped writing under them.
 *
 * @generated from message lockbroker.v1.EndLock
 */
export type EndLock = Message<"lockbroker.v1.EndLock"> & {
  /**
   * The lock's handle, as in BeginLock. One that was never begun ends the Session with
   * INVALID_ARGUMENT.
   *
   * @generated from field: int64 lock_ref = 1;
   */
  lockRef: bigint;
};

/**
 * Describes the message lockbroker.v1.EndLock.
 * Use `create(EndLockSchema)` to create a new message.
 */
export const EndLockSchema: GenMessage<EndLock> = /*@__PURE__*/
  messageDesc(file_lockbroker_v1_lockbroker, 33);

/**
 * A message on a Session, from the broker.
 *
 * @generated from message lockbroker.v1.SessionResponse
 */
export type SessionResponse = Message<"lockbroker.v1.SessionResponse"> & {
  /**
   * Exactly one is set. A client ignores kinds that it does not know.
   *
   * @generated from oneof lockbroker.v1.SessionResponse.kind
   */
  kind: {
    /**
     * Answers `open`.
     *
     * @generated from field: lockbroker.v1.SessionOpened opened = 1;
     */
    value: SessionOpened;
    case: "opened";
  } | {
    /**
     * Answers a heartbeat.
     *
     * @generated from field: lockbroker.v1.HeartbeatAck heartbeat_ack = 2;
     */
    value: HeartbeatAck;
    case: "heartbeatAck";
  } | {
    /**
     * Something happened to a lock, or to the whole Session.
     *
     * @generated from field: lockbroker.v1.SessionEvent event = 3;
     */
    value: SessionEvent;
    case: "event";
  } | { case: undefined; value?: undefined };
};

/**
 * Describes the message lockbroker.v1.SessionResponse.
 * Use `create(SessionResponseSchema)` to create a new message.
 */
export const SessionResponseSchema: GenMessage<SessionResponse> = /*@__PURE__*/
  messageDesc(file_lockbroker_v1_lockbroker, 34);

/**
 * The Session is open.
 *
 * @generated from message lockbroker.v1.SessionOpened
 */
export type SessionOpened = Message<"lockbroker.v1.SessionOpened"> & {
  /**
   * The ttl as granted.
   *
   * @generated from field: google.protobuf.Duration ttl = 1;
   */
  ttl?: Duration | undefined;

  /**
   * Locks granted from now on are valid until this long after the client sent `open`.
   *
   * @generated from field: google.protobuf.Duration expires_after_open = 2;
   */
  expiresAfterOpen?: Duration | undefined;

  /**
   * The time from one heartbeat to the next, and from `open` to the first, each as sent: a third of the ttl.
   *
   * @generated from field: google.protobuf.Duration heartbeat_interval = 3;
   */
  heartbeatInterval?: Duration | undefined;
};

/**
 * Describes the message lockbroker.v1.SessionOpened.
 * Use `create(SessionOpenedSchema)` to create a new message.
 */
export const SessionOpenedSchema: GenMessage<SessionOpened> = /*@__PURE__*/
  messageDesc(file_lockbroker_v1_lockbroker, 35);

/**
 * A heartbeat has been answered and the locks of the Session renewed.
 *
 * @generated from message lockbroker.v1.HeartbeatAck
 */
export type HeartbeatAck = Message<"lockbroker.v1.HeartbeatAck"> & {
  /**
   * The heartbeat's seq. The same one may be acknowledged again, with fewer locks in `not_renewed`.
   *
   * @generated from field: int64 seq = 1;
   */
  seq: bigint;

  /**
   * Every lock of the Session that is not in `not_renewed`, and every one granted later, is valid until
   * this long after the client sent that heartbeat.
   *
   * @generated from field: google.protobuf.Duration expires_after_heartbeat = 2;
   */
  expiresAfterHeartbeat?: Duration | undefined;

  /**
   * The lock_refs that keep what an earlier ack gave them.
   *
   * @generated from field: repeated int64 not_renewed = 3;
   */
  notRenewed: bigint[];
};

/**
 * Describes the message lockbroker.v1.HeartbeatAck.
 * Use `create(HeartbeatAckSchema)` to create a new message.
 */
export const HeartbeatAckSchema: GenMessage<HeartbeatAck> = /*@__PURE__*/
  messageDesc(file_lockbroker_v1_lockbroker, 36);

/**
 * Something happened on a Session.
 *
 * @generated from message lockbroker.v1.SessionEvent
 */
export type SessionEvent = Message<"lockbroker.v1.SessionEvent"> & {
  /**
   * The lock's handle. 0: the whole Session (`draining`).
   *
   * @generated from field: int64 lock_ref = 1;
   */
  lockRef: bigint;

  /**
   * The event.
   *
   * @generated from field: lockbroker.v1.LockEvent event = 2;
   */
  event?: LockEvent | undefined;
};

/**
 * Describes the message lockbroker.v1.SessionEvent.
 * Use `create(SessionEventSchema)` to create a new message.
 */
export const SessionEventSchema: GenMessage<SessionEvent> = /*@__PURE__*/
  messageDesc(file_lockbroker_v1_lockbroker, 37);

/**
 * Asks which locks there are.
 *
 * @generated from message lockbroker.v1.ListLocksRequest
 */
export type ListLocksRequest = Message<"lockbroker.v1.ListLocksRequest"> & {
  /**
   * The beginning of the names. Unset: all.
   *
   * @generated from field: string prefix = 1;
   */
  prefix: string;

  /**
   * The most locks to list, of 1 to 1,000,000: the first by name. Unset: 1,000,000.
   *
   * @generated from field: int32 limit = 2;
   */
  limit: number;
};

/**
 * Describes the message lockbroker.v1.ListLocksRequest.
 * Use `create(ListLocksRequestSchema)` to create a new message.
 */
export const ListLocksRequestSchema: GenMessage<ListLocksRequest> = /*@__PURE__*/
  messageDesc(file_lockbroker_v1_lockbroker, 38);

/**
 * A part of the list.
 *
 * @generated from message lockbroker.v1.ListLocksResponse
 */
export type ListLocksResponse = Message<"lockbroker.v1.ListLocksResponse"> & {
  /**
   * A part of the locks, at most 1,000. Each permit of a SHARED lock counts as a lock.
   *
   * @generated from field: repeated lockbroker.v1.LockInfo locks = 1;
   */
  locks: LockInfo[];

  /**
   * In the last answer: the number of locks that there are, also beyond `limit`; 2,147,483,647 if they are
   * more than that. 0 in the others.
   *
   * @generated from field: int32 total = 2;
   */
  total: number;
};

/**
 * Describes the message lockbroker.v1.ListLocksResponse.
 * Use `create(ListLocksResponseSchema)` to create a new message.
 */
export const ListLocksResponseSchema: GenMessage<ListLocksResponse> = /*@__PURE__*/
  messageDesc(file_lockbroker_v1_lockbroker, 39);

/**
 * A lock as the store has it.
 *
 * @generated from message lockbroker.v1.LockInfo
 */
export type LockInfo = Message<"lockbroker.v1.LockInfo"> & {
  /**
   * The lock's name.
   *
   * @generated from field: string name = 1;
   */
  name: string;

  /**
   * HELD, LINGERING, REVOKED or CLAIMED.
   *
   * @generated from field: lockbroker.v1.GetLockResponse.State state = 2;
   */
  state: GetLockResponse_State;

  /**
   * The holder's label, where known and given.
   *
   * @generated from field: string owner = 3;
   */
  owner: string;

  /**
   * As in GetLockResponse.
   *
   * @generated from field: google.protobuf.Duration free_within = 4;
   */
  freeWithin?: Duration | undefined;

  /**
   * As in GetLockResponse.
   *
   * @generated from field: int64 fencing_token = 5;
   */
  fencingToken: bigint;

  /**
   * As in GetLockResponse.
   *
   * @generated from field: google.protobuf.Duration held_for = 6;
   */
  heldFor?: Duration | undefined;

  /**
   * As in GetLockResponse. Unset for CLAIMED, which nobody can revoke.
   *
   * @generated from field: string etag = 7;
   */
  etag: string;

  /**
   * The permit, if the lock is SHARED: each permit is an entry of its own. Those of one name stand in their order, behind that of
   * the lock itself, which is CLAIMED beside them.
   *
   * @generated from field: optional int32 permit = 8;
   */
  permit?: number | undefined;
};

/**
 * Describes the message lockbroker.v1.LockInfo.
 * Use `create(LockInfoSchema)` to create a new message.
 */
export const LockInfoSchema: GenMessage<LockInfo> = /*@__PURE__*/
  messageDesc(file_lockbroker_v1_lockbroker, 40);

/**
 * Asks who waits.
 *
 * @generated from message lockbroker.v1.ListWaitersRequest
 */
export type ListWaitersRequest = Message<"lockbroker.v1.ListWaitersRequest"> & {
  /**
   * The lock's name. Unset: the waiters of all locks that `prefix` names.
   *
   * @generated from field: string name = 1;
   */
  name: string;

  /**
   * The beginning of the names. Not together with `name`.
   *
   * @generated from field: string prefix = 2;
   */
  prefix: string;

  /**
   * The most waiters to list, of 1 to 1,000,000: the first by name and place. Unset: 1,000,000.
   *
   * @generated from field: int32 limit = 3;
   */
  limit: number;
};

/**
 * Describes the message lockbroker.v1.ListWaitersRequest.
 * Use `create(ListWaitersRequestSchema)` to create a new message.
 */
export const ListWaitersRequestSchema: GenMessage<ListWaitersRequest> = /*@__PURE__*/
  messageDesc(file_lockbroker_v1_lockbroker, 41);

/**
 * A part of the list.
 *
 * @generated from message lockbroker.v1.ListWaitersResponse
 */
export type ListWaitersResponse = Message<"lockbroker.v1.ListWaitersResponse"> & {
  /**
   * A part of the waiters, at most 1,000. Those of one lock stand in the order of their places.
   *
   * @generated from field: repeated lockbroker.v1.WaiterInfo waiters = 1;
   */
  waiters: WaiterInfo[];

  /**
   * In the last answer: the number of waiters that there are, as in ListLocksResponse.
   *
   * @generated from field: int32 total = 2;
   */
  total: number;
};

/**
 * Describes the message lockbroker.v1.ListWaitersResponse.
 * Use `create(ListWaitersResponseSchema)` to create a new message.
 */
export const ListWaitersResponseSchema: GenMessage<ListWaitersResponse> = /*@__PURE__*/
  messageDesc(file_lockbroker_v1_lockbroker, 42);

/**
 * Somebody who waits for a lock.
 *
 * @generated from message lockbroker.v1.WaiterInfo
 */
export type WaiterInfo = Message<"lockbroker.v1.WaiterInfo"> & {
  /**
   * The lock's name.
   *
   * @generated from field: string name = 1;
   */
  name: string;

  /**
   * The place among this broker's waiters for the name; the first is 1.
   *
   * @generated from field: int32 position = 2;
   */
  position: number;

  /**
   * The waiter's label, where given: what it would show as a holder.
   *
   * @generated from field: string owner = 3;
   */
  owner: string;

  /**
   * The time since it asked.
   *
   * @generated from field: google.protobuf.Duration waited_for = 4;
   */
  waitedFor?: Duration | undefined;

  /**
   * EXCLUSIVE or SHARED.
   *
   * @generated from field: lockbroker.v1.LockSpec.Mode mode = 5;
   */
  mode: LockSpec_Mode;

  /**
   * As in LockSpec; 4,096 where that was unset. 0 if it is EXCLUSIVE.
   *
   * @generated from field: int32 limit = 6;
   */
  limit: number;

  /**
   * The number of permits that it takes. 0 if it is EXCLUSIVE.
   *
   * @generated from field: int32 weight = 7;
   */
  weight: number;

  /**
   * True if nobody else gets the lock, or a permit of it, before: it waits for those who share the lock. ListLocks shows it as CLAIMED
   * meanwhile.
   *
   * @generated from field: bool keeps_others_out = 8;
   */
  keepsOthersOut: boolean;
};

/**
 * Describes the message lockbroker.v1.WaiterInfo.
 * Use `create(WaiterInfoSchema)` to create a new message.
 */
export const WaiterInfoSchema: GenMessage<WaiterInfo> = /*@__PURE__*/
  messageDesc(file_lockbroker_v1_lockbroker, 43);

/**
 * Asks to take a lock from its holder.
 *
 * @generated from message lockbroker.v1.RevokeLockRequest
 */
export type RevokeLockRequest = Message<"lockbroker.v1.RevokeLockRequest"> & {
  /**
   * The lock's name.
   *
   * @generated from field: string name = 1;
   */
  name: string;

  /**
   * From GetLock or ListLocks: revoke that grant alone; with `immediate`, free that linger or revocation
   * alone. It has 16 hexadecimal digits. Unset: whatever the lock is when the broker looks.
   *
   * @generated from field: string etag = 2;
   */
  etag: string;

  /**
   * True frees the lock at once, without its linger and its `min_hold`. If nobody holds it, it ends what keeps
   * the lock closed: a linger, a `min_hold`, or an earlier revocation. Its holder may believe in it for up to --max-ttl more: until then there can be TWO HOLDERS.
   * Use it only if the holder is known to be gone. If another broker keeps the lock and the two do not hear
   * each other (--advertise), the holder is told GONE or TAKEN_OVER, at its next renewal.
   *
   * @generated from field: bool immediate = 3;
   */
  immediate: boolean;

  /**
   * The permit to revoke, 0 to 4,095, of a lock that is SHARED. Nobody else can acquire this permit before its holder can no longer believe
   * in it; the other permits are as they were. Unset: the lock itself, of one who has it EXCLUSIVE.
   *
   * @generated from field: optional int32 permit = 4;
   */
  permit?: number | undefined;
};

/**
 * Describes the message lockbroker.v1.RevokeLockRequest.
 * Use `create(RevokeLockRequestSchema)` to create a new message.
 */
export const RevokeLockRequestSchema: GenMessage<RevokeLockRequest> = /*@__PURE__*/
  messageDesc(file_lockbroker_v1_lockbroker, 44);

/**
 * The effect of a RevokeLock.
 *
 * @generated from message lockbroker.v1.RevokeLockResponse
 */
export type RevokeLockResponse = Message<"lockbroker.v1.RevokeLockResponse"> & {
  /**
   * The effect.
   *
   * @generated from field: lockbroker.v1.RevokeLockResponse.Outcome outcome = 1;
   */
  outcome: RevokeLockResponse_Outcome;

  /**
   * The label of the holder whose grant was revoked, where known and given.
   *
   * @generated from field: string owner = 2;
   */
  owner: string;

  /**
   * After REVOKED: somebody else can have the lock after this long. 0 if it is free. It takes longer if
   * this broker dies meanwhile.
   *
   * @generated from field: google.protobuf.Duration free_within = 3;
   */
  freeWithin?: Duration | undefined;
};

/**
 * Describes the message lockbroker.v1.RevokeLockResponse.
 * Use `create(RevokeLockResponseSchema)` to create a new message.
 */
export const RevokeLockResponseSchema: GenMessage<RevokeLockResponse> = /*@__PURE__*/
  messageDesc(file_lockbroker_v1_lockbroker, 45);

/**
 * The effect of a RevokeLock.
 *
 * @generated from enum lockbroker.v1.RevokeLockResponse.Outcome
 */
export enum RevokeLockResponse_Outcome {
  /**
   * Never sent.
   *
   * @generated from enum value: OUTCOME_UNSPECIFIED = 0;
   */
  UNSPECIFIED = 0,

  /**
   * The grant was revoked.
   *
   * @generated from enum value: OUTCOME_REVOKED = 1;
   */
  REVOKED = 1,

  /**
   * Nobody holds the lock: it is free; or it lingers or was revoked before, and `immediate` is not set; or it is SHARED, and
   * `permit` is unset.
   *
   * @generated from enum value: OUTCOME_NOT_HELD = 2;
   */
  NOT_HELD = 2,

  /**
   * The lock is no longer what `etag` names; untouched.
   *
   * @generated from enum value: OUTCOME_CHANGED = 3;
   */
  CHANGED = 3,

  /**
   * Nobody held the lock, which was still closed after a release or a revocation; `immediate` freed it.
   *
   * @generated from enum value: OUTCOME_FREED = 4;
   */
  FREED = 4,
}

/**
 * Describes the enum lockbroker.v1.RevokeLockResponse.Outcome.
 */
export const RevokeLockResponse_OutcomeSchema: GenEnum<RevokeLockResponse_Outcome> = /*@__PURE__*/
  enumDesc(file_lockbroker_v1_lockbroker, 45, 0);

/**
 * Hands out named locks. Any broker of a deployment answers any call.
 *
 * @generated from service lockbroker.v1.LockService
 */
export const LockService: GenService<{
  /**
   * Tries once to take a lock. The first event is `acquired` or `not_acquired`. After `acquired` the
   * stream stays open for as long as the lock is wanted: cancelling it, or losing the connection,
   * releases the lock. Status: OK after `not_acquired` and `released`, ABORTED after `lost`,
   * INVALID_ARGUMENT, UNAVAILABLE (store away or in quarantine) or RESOURCE_EXHAUSTED otherwise.
   *
   * @generated from rpc lockbroker.v1.LockService.Acquire
   */
  acquire: {
    methodKind: "server_streaming";
    input: typeof AcquireRequestSchema;
    output: typeof AcquireResponseSchema;
  },
  /**
   * Queues for a lock until it is granted or `max_wait` is over. The first event is `acquired`,
   * `not_acquired` or `queued`; `queued` is repeated every 5 s. Waits through a store that is away.
   * Everything else is as with Acquire.
   *
   * @generated from rpc lockbroker.v1.LockService.WaitAcquire
   */
  waitAcquire: {
    methodKind: "server_streaming";
    input: typeof WaitAcquireRequestSchema;
    output: typeof WaitAcquireResponseSchema;
  },
  /**
   * Releases the grant that a lock id names, from any connection and at any broker. Idempotent. A
   * stale id, or that of another lock, changes nothing; the outcome says so with status OK.
   *
   * @generated from rpc lockbroker.v1.LockService.Release
   */
  release: {
    methodKind: "unary";
    input: typeof ReleaseRequestSchema;
    output: typeof ReleaseResponseSchema;
  },
  /**
   * Takes a lock for a client that can hold no stream: a cron job, a web page, a function. The lock
   * stands for its ttl. RenewLease prolongs it, Release ends it, and so does the end of the ttl. The
   * answer comes when the lock is acquired, or when `max_wait` is over. A call that is cancelled before
   * it is answered leaves no lock behind. If the answer is lost on its way, the lock stands for its ttl;
   * with a `request_id` the call can be repeated, and is answered with the same lease.
   *
   * @generated from rpc lockbroker.v1.LockService.AcquireLease
   */
  acquireLease: {
    methodKind: "unary";
    input: typeof AcquireLeaseRequestSchema;
    output: typeof AcquireLeaseResponseSchema;
  },
  /**
   * Renews a lease for its ttl, at any broker. Only leases have this: a stream renews its own locks. An
   * error says nothing about the lease: try again, for as long as it is valid.
   *
   * @generated from rpc lockbroker.v1.LockService.RenewLease
   */
  renewLease: {
    methodKind: "unary";
    input: typeof RenewLeaseRequestSchema;
    output: typeof RenewLeaseResponseSchema;
  },
  /**
   * Looks at a lock without touching it.
   *
   * @generated from rpc lockbroker.v1.LockService.GetLock
   */
  getLock: {
    methodKind: "unary";
    input: typeof GetLockRequestSchema;
    output: typeof GetLockResponseSchema;
  },
  /**
   * Gives the grant that a lock id names another `value`, from any connection and at any broker. The lock must have been asked for with
   * one. A stale id, or that of another lock, changes nothing; the outcome says so with status OK. UNAVAILABLE: the
   * value may have been updated or not, or somebody else has updated it at the same time. Try again; for a lock that was asked
   * for without a value, brokers that do not keep it say so each time.
   *
   * @generated from rpc lockbroker.v1.LockService.UpdateLock
   */
  updateLock: {
    methodKind: "unary";
    input: typeof UpdateLockRequestSchema;
    output: typeof UpdateLockResponseSchema;
  },
  /**
   * Tells who holds a lock and with which `value`, at once and whenever that changes: what another broker does, within 1.2 s, or 4 s if the store is slow. The
   * last state is repeated every 5 s; who hears nothing for three times that long knows nothing any more. What is told is what this broker has
   * seen last. Between two answers a lock may have been free, or held by others, and a value may have been another one. A lower
   * fencing token is never told after a higher one. The stream has no end of its own: UNAVAILABLE if the broker goes
   * away. A policy allows it to whoever may GetLock.
   *
   * @generated from rpc lockbroker.v1.LockService.Observe
   */
  observe: {
    methodKind: "server_streaming";
    input: typeof ObserveRequestSchema;
    output: typeof ObserveResponseSchema;
  },
  /**
   * Many locks on one stream. The client sends `open` first and then heartbeats, and begins and ends
   * locks as it likes. Half-closing or cancelling the stream releases everything on it. A stream that
   * falls silent loses its locks when the validity that its client was last told is over.
   *
   * @generated from rpc lockbroker.v1.LockService.Session
   */
  session: {
    methodKind: "bidi_streaming";
    input: typeof SessionRequestSchema;
    output: typeof SessionResponseSchema;
  },
}> = /*@__PURE__*/
  serviceDesc(file_lockbroker_v1_lockbroker, 0);

/**
 * Shows what is held and who waits, and ends what has to be ended. It is for operators. A policy allows
 * it by verbs of its own: `list` and `revoke`.
 *
 * @generated from service lockbroker.v1.LockAdmin
 */
export const LockAdmin: GenService<{
  /**
   * Lists the locks of the whole store, whichever broker granted them, also if that broker has died. The
   * answers together are one list, in the order of the names' bytes. A lock that is acquired, released or
   * moved meanwhile may be missing.
   *
   * @generated from rpc lockbroker.v1.LockAdmin.ListLocks
   */
  listLocks: {
    methodKind: "server_streaming";
    input: typeof ListLocksRequestSchema;
    output: typeof ListLocksResponseSchema;
  },
  /**
   * Lists who waits for locks at the broker that is asked. Every broker has waiters of its own.
   *
   * @generated from rpc lockbroker.v1.LockAdmin.ListWaiters
   */
  listWaiters: {
    methodKind: "server_streaming";
    input: typeof ListWaitersRequestSchema;
    output: typeof ListWaitersResponseSchema;
  },
  /**
   * Takes a lock from its holder. The holder is told `lost` (REVOKED). Nobody else can acquire the lock
   * until the holder can no longer believe that it has it, and its linger is over: `free_within`, at most
   * --max-ttl and the linger together, or what is left of its `min_hold`, if that is longer. `immediate` frees the lock at once,
   * also one that was revoked before.
   *
   * @generated from rpc lockbroker.v1.LockAdmin.RevokeLock
   */
  revokeLock: {
    methodKind: "unary";
    input: typeof RevokeLockRequestSchema;
    output: typeof RevokeLockResponseSchema;
  },
}> = /*@__PURE__*/
  serviceDesc(file_lockbroker_v1_lockbroker, 1);

