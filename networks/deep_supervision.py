"""Deep supervision: a network that learns from several outputs and predicts with the first."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("em_image_segmentation")
class DeeplySupervised(keras.Model):
    """A functional model whose further outputs count only in the training loss (Lee et al. 2015, arXiv 1409.5185).

    The training loss is the weighted mean over all outputs, each against the mask at its own size (nearest neighbour).
    Metrics, validation, prediction and export see only the first output, so the model is used like one with a single
    output.

    Parameters
    ----------
    inputs : keras.KerasTensor
        As `keras.Model`.
    outputs : list of keras.KerasTensor
        Probabilities ``(n, ..., classes)``, the main one first and of full size; the others may be smaller.
    name : str
        Name of the model.

    Examples
    --------
    >>> image = keras.Input((None, None, 1))
    >>> heads = [keras.layers.Conv2D(1, 1, activation="sigmoid")(image) for _ in range(2)]
    >>> DeeplySupervised(image, heads).predict_on_batch(ops.zeros((1, 4, 4, 1))).shape
    (1, 4, 4, 1)
    """

    def compile(self, optimizer="rmsprop", loss=None, loss_weights=None, **kwargs):
        """Compile as `keras.Model`; ``loss_weights`` holds one number for each output, the main one first."""
        n_outputs = len(self.outputs)
        weights = [1.0] * n_outputs if loss_weights is None else list(loss_weights)
        if len(weights) != n_outputs or min(weights) < 0 or sum(weights) <= 0:
            raise ValueError(
                f"OUTPUT_WEIGHTS is {loss_weights}; {self.name} has {n_outputs} outputs and wants as many weights, "
                "none below 0 and one above."
            )
        self.output_weights = [weight / sum(weights) for weight in weights]
        super().compile(optimizer, loss, **kwargs)

    def get_compile_config(self):
        """Return the arguments of `compile`, including the weights of the outputs."""
        config = super().get_compile_config()
        return {**config, "loss_weights": self.output_weights} if config else config

    def compile_from_config(self, config):
        """Compile as the saved model was."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def call(self, inputs, training=None, mask=None):
        """Return all outputs in training, otherwise the main one."""
        outputs = super().call(inputs, training=training, mask=mask)
        return outputs if training else outputs[0]

    def compute_output_spec(self, inputs, training=None, mask=None):
        """Return the shapes of the outputs of `call`."""
        outputs = super().compute_output_spec(inputs, training=training, mask=mask)
        return outputs if training else outputs[0]

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Return the weighted mean of the losses of all outputs; outside training only the loss of the main one."""
        if not isinstance(y_pred, list | tuple):
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        total = 0.0
        # Outputs of weight 0 are added too, so that variables that only they train get a gradient, of zero.
        for weight, output in zip(self.output_weights, y_pred, strict=True):
            weights = None if sample_weight is None else resize_to(sample_weight, output)
            total += weight * super().compute_loss(x, resize_to(y, output), output, weights, training)
        return total

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Update the metrics with the main output."""
        main = y_pred[0] if isinstance(y_pred, list | tuple) else y_pred
        return super().compute_metrics(x, y, main, sample_weight)


def resize_to(masks, reference):
    """Resize masks to the size of an output by nearest neighbour.

    Parameters
    ----------
    masks : tensor
        ``(n, y, x[, c])`` or ``(n, z, y, x[, c])``; weights ``(n,)`` of whole samples are returned as they are.
    reference : tensor
        ``(n, ..., classes)``, not larger.

    Returns
    -------
    tensor
        ``(n, ...[, c])`` of the spatial size of the reference.
    """
    if len(masks.shape) < len(reference.shape) - 1:
        return masks
    for axis in range(1, len(reference.shape) - 1):
        have, wanted = ops.shape(masks)[axis], ops.shape(reference)[axis]
        if not (isinstance(have, int) and isinstance(wanted, int) and have == wanted):
            middles = (2 * ops.arange(wanted) + 1) * have // (2 * wanted)
            masks = ops.take(masks, middles, axis=axis)
    return masks
