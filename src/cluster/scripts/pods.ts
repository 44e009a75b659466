/** What the pods of both Kubernetes manifests have in common. */
import { unfinishedExitCode, userErrorExitCode } from '../../base/errors.ts';
import { defaultPort } from '../placement.ts';
import { literal, type Manifest } from './manifestText.ts';
import { clusterWords, graceSeconds, imageFolder, type ScriptOptions } from './scriptOptions.ts';

/** The user of pods, in whose group the volume is: `node` in the image. */
const userId = 1000;

/** Time after which a pod is replaced when its node is silent, in seconds. The default of Kubernetes is 300. */
const unreachableSeconds = 30;

/**
 * Times that pods need, in milliseconds. A dead node and a volume that moves take minutes, and workers must keep their state until the
 * coordinator's new pod has started; nodes may be added to the cluster only for this job.
 */
const patience = { 'comm.rejoinTimeoutMs': 600_000, 'comm.joinTimeoutMs': 600_000 } as const;

export interface PodParts {
  /** How others reach node 0. */
  readonly coordinatorHost: string;
  /** The annotation with the rank of the pod's node; undefined: Kubernetes sets JOB_COMPLETION_INDEX. */
  readonly rankAnnotation?: string;
  /** Whether `/data` is the volume claim of the run, or an empty folder. */
  readonly hasVolume: boolean;
  /** The keys that it needs: those of the coordinator, those for joining, or both where its rank decides. */
  readonly keys: readonly ('run' | 'join')[];
  /** The headless Service, for pods that belong to no JobSet. */
  readonly subdomain?: string;
}

/** The template of a pod, for `spec.template` of a Job. */
export function podTemplate(options: ScriptOptions, parts: PodParts): Manifest {
  const { name, image, cpus, memory } = options;
  const size = { ...(cpus === undefined ? {} : { cpu: String(cpus) }), ...(memory === undefined ? {} : { memory }) };
  return {
    metadata: { labels: { app: name } },
    spec: {
      restartPolicy: 'Never',
      terminationGracePeriodSeconds: graceSeconds,
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      ...(parts.subdomain === undefined ? {} : { subdomain: parts.subdomain }),
      securityContext: {
        runAsNonRoot: true,
        runAsUser: userId,
        runAsGroup: userId,
        fsGroup: userId,
        fsGroupChangePolicy: 'OnRootMismatch',
        seccompProfile: { type: 'RuntimeDefault' },
      },
      tolerations: ['unreachable', 'not-ready'].map((state) => ({
        key: `node.kubernetes.io/${state}`,
        operator: 'Exists',
        effect: 'NoExecute',
        tolerationSeconds: unreachableSeconds,
      })),
      containers: [
        {
          name: 'launch',
          image,
          args: [...clusterWords(options), ...patientWords(options)].map(literal),
          env: environment(options, parts),
          ...(Object.keys(size).length === 0 ? {} : { resources: { requests: size, limits: size } }),
          securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
          volumeMounts: [{ name: 'data', mountPath: imageFolder }],
        },
      ],
      volumes: [
        parts.hasVolume ? { name: 'data', persistentVolumeClaim: { claimName: name } } : { name: 'data', emptyDir: {} },
      ],
    },
  };
}

/**
 * What a Job does about pods that end. Wrong input stays wrong; a worker that the run refuses ends with another code. A checkpoint before an
 * eviction, or a drained node, is not a failure.
 */
export const podFailurePolicy = {
  rules: [
    { action: 'FailJob', onExitCodes: { containerName: 'launch', operator: 'In', values: [userErrorExitCode] } },
    { action: 'Ignore', onExitCodes: { containerName: 'launch', operator: 'In', values: [unfinishedExitCode] } },
    { action: 'Ignore', onPodConditions: [{ type: 'DisruptionTarget', status: 'True' }] },
  ],
};

/** The volume of the run directory. @param accessMode `ReadWriteOnce`, or `ReadWriteMany` if pods of several nodes mount it */
export function volumeClaim({ name, storage }: ScriptOptions, accessMode: string): Manifest {
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name },
    spec: { accessModes: [accessMode], resources: { requests: { storage } } },
  };
}

/** How to make the Secret, as lines of a comment: keys belong in no file that is kept with the manifest. */
export function secretComment({ name, program }: ScriptOptions): string[] {
  return [
    'Before kubectl apply, make the keys of the run once:',
    `  ${program} keys --out keys`,
    `  kubectl create secret generic ${name}-keys --from-file=run.key=keys/run.key --from-file=join.key=keys/join.key`,
  ];
}

function environment({ name, nodes }: ScriptOptions, parts: PodParts): Manifest[] {
  return [
    { name: 'LOCKSTEP_NODES', value: String(nodes) },
    { name: 'LOCKSTEP_COORDINATOR', value: `${parts.coordinatorHost}:${defaultPort}` },
    ...(parts.rankAnnotation === undefined
      ? []
      : [
          {
            name: 'LOCKSTEP_NODE_RANK',
            valueFrom: { fieldRef: { fieldPath: `metadata.annotations['${parts.rankAnnotation}']` } },
          },
        ]),
    ...parts.keys.map((key) => ({
      name: `LOCKSTEP_${key.toUpperCase()}_KEY`,
      valueFrom: { secretKeyRef: { name: `${name}-keys`, key: `${key}.key` } },
    })),
  ];
}

/** Overrides of those times that the user did not choose. */
function patientWords({ trainWords }: ScriptOptions): string[] {
  const chosen = trainWords.join('\n');
  return Object.entries(patience)
    .filter(([key]) => !chosen.includes(`${key}=`))
    .map(([key, milliseconds]) => `--set=${key}=${milliseconds}`);
}
