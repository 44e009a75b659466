/** Measures of a classification, from its confusion matrix. A class that nobody predicts or that does not occur has measures of 0, as in scikit-learn. */

/** Counts [K][K]: rows of the class in the data, columns of the predicted class. */
export type ConfusionMatrix = readonly (readonly number[])[];

/** The measures of one class. */
export interface ClassMeasures {
  readonly label: string;
  /** Fraction of the texts with this prediction that are of the class. */
  readonly precision: number;
  /** Fraction of the texts of the class that have this prediction. */
  readonly recall: number;
  /** The harmonic mean of both. */
  readonly f1: number;
  /** Number of texts of the class. */
  readonly support: number;
}

/** The measures of all classes. */
export interface Classified {
  /** Fraction of correct predictions. */
  readonly accuracy: number;
  /** The mean of `f1` over the classes that occur in the data or in the predictions. */
  readonly macroF1: number;
  readonly classes: readonly ClassMeasures[];
  readonly confusion: ConfusionMatrix;
}

/** A matrix without counts. */
export function noConfusion(classCount: number): number[][] {
  return Array.from({ length: classCount }, () => Array<number>(classCount).fill(0));
}

/** @param labels the names of the classes, in the order of the matrix */
export function classMeasures(confusion: ConfusionMatrix, labels: readonly string[]): Classified {
  const ratio = (part: number, whole: number) => (whole > 0 ? part / whole : 0);
  const total = sum(confusion.map(sum));
  const counted = labels.map((label, k) => {
    const right = confusion[k]![k]!;
    const [support, predicted] = [sum(confusion[k]!), sum(confusion.map((row) => row[k]!))];
    return {
      measures: {
        label,
        precision: ratio(right, predicted),
        recall: ratio(right, support),
        f1: ratio(2 * right, support + predicted),
        support,
      },
      occurs: support + predicted > 0,
    };
  });
  const present = counted.filter(({ occurs }) => occurs);
  return {
    accuracy: ratio(sum(confusion.map((row, k) => row[k]!)), total),
    macroF1: ratio(sum(present.map(({ measures }) => measures.f1)), present.length),
    classes: counted.map(({ measures }) => measures),
    confusion,
  };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
