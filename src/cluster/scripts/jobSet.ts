/**
 * A JobSet: node 0 and the others are replicated jobs of their own, so that only node 0 has the volume and the coordinator's keys.
 * Fields as in jobset.x-k8s.io/v1alpha2 since release 0.6.
 */
import { manifestText } from './manifestText.ts';
import { podFailurePolicy, podTemplate, secretComment, volumeClaim } from './pods.ts';
import { attempts, type ScriptOptions } from './scriptOptions.ts';

/** Text of the manifest: a volume claim and the JobSet. */
export function jobSetManifest(options: ScriptOptions): string {
  const { name, nodes } = options;
  const replicatedJob = (role: 'coordinator' | 'worker', replicas: number) => ({
    name: role,
    replicas,
    template: {
      spec: {
        completionMode: 'Indexed',
        completions: 1,
        parallelism: 1,
        backoffLimit: attempts,
        podFailurePolicy,
        template: podTemplate(options, {
          // The name of a pod: JobSet, replicated job, job, pod, and the Service that the JobSet makes.
          coordinatorHost: `${name}-coordinator-0-0.${name}`,
          // JobSet counts its jobs in the order below, so node 0 is the coordinator.
          rankAnnotation: 'jobset.sigs.k8s.io/job-global-index',
          hasVolume: role === 'coordinator',
          keys: [role === 'coordinator' ? 'run' : 'join'],
        }),
      },
    },
  });
  const jobSet = {
    apiVersion: 'jobset.x-k8s.io/v1alpha2',
    kind: 'JobSet',
    metadata: { name },
    spec: {
      network: { enableDNSHostnames: true, publishNotReadyAddresses: true },
      // The run is done when its coordinator is; a worker that has just restarted would wait for it in vain.
      successPolicy: { operator: 'All', targetReplicatedJobs: ['coordinator'] },
      failurePolicy: {
        maxRestarts: 3,
        rules: [
          {
            name: 'wrongInput',
            action: 'FailJobSet',
            onJobFailureReasons: ['PodFailurePolicy'],
          },
        ],
      },
      replicatedJobs: [replicatedJob('coordinator', 1), ...(nodes > 1 ? [replicatedJob('worker', nodes - 1)] : [])],
    },
  };
  return manifestText(secretComment(options), [volumeClaim(options, 'ReadWriteOnce'), jobSet]);
}
