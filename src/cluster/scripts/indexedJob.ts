/**
 * An Indexed Job with a headless Service, for clusters without JobSet. All pods have one template, so all mount the volume, which must
 * allow that from several machines, and all can read the coordinator's keys.
 */
import { manifestText } from './manifestText.ts';
import { podFailurePolicy, podTemplate, secretComment, volumeClaim } from './pods.ts';
import { attempts, type ScriptOptions } from './scriptOptions.ts';

/** Text of the manifest: a volume claim, the Service and the Job. */
export function indexedJobManifest(options: ScriptOptions): string {
  const { name, nodes } = options;
  const service = {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name },
    spec: {
      clusterIP: 'None',
      // Workers look node 0 up before it is ready, and it is the only name they need.
      publishNotReadyAddresses: true,
      selector: { 'job-name': name },
    },
  };
  const job = {
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: { name },
    spec: {
      completionMode: 'Indexed',
      completions: nodes,
      parallelism: nodes,
      backoffLimitPerIndex: attempts,
      // The run is done when node 0 is. Clusters before 1.31 ignore this and wait for all.
      successPolicy: { rules: [{ succeededIndexes: '0' }] },
      podFailurePolicy,
      template: podTemplate(options, {
        coordinatorHost: `${name}-0.${name}`,
        hasVolume: true,
        keys: ['run', 'join'],
        subdomain: name,
      }),
    },
  };
  return manifestText(secretComment(options), [volumeClaim(options, 'ReadWriteMany'), service, job]);
}
