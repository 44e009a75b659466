/** The group `checkpoint` of a config: when the run is saved. */
import { isAbsolute } from 'node:path';
import { z } from 'zod';
import { flag, pathMax, whole } from '../../base/keyTypes.ts';
import { isObjectPath } from '../../base/objectPath.ts';

export const checkpoint = z
  .strictObject({
    everySteps: whole({
      default: 500,
      doc: 'Steps between checkpoints. One is always written at the end; 0 writes only that one.',
    }),
    keep: whole({
      default: 3,
      min: 1,
      max: 10_000,
      doc: 'Number of newest checkpoints to keep. The best by validation loss is kept as well.',
    }),
    best: flag({
      default: false,
      doc: 'Also write a checkpoint each time the validation loss reaches a new minimum.',
    }),
    directory: z
      .string()
      .max(pathMax)
      .overwrite((path) => (isObjectPath(path) ? path.replace(/(?<=[^/:])\/+$/, '') : path))
      .refine((path) => path === '' || isObjectPath(path) || isAbsolute(path), 'neither absolute nor s3://')
      .default('')
      .meta({
        description:
          'Where checkpoints are written, for this run alone: an absolute folder, or s3://BUCKET/PREFIX in an object store. Empty: checkpoints/ in the run directory. A resumed run keeps it.',
        expects: 'an absolute folder or s3://BUCKET/PREFIX',
      }),
  })
  .meta({ description: 'Checkpoints: when they are written and how many are kept.' });
