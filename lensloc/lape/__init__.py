"""Language-specific neurons by the entropy of their activation probabilities (LAPE).

Tang et al. 2024, arXiv 2402.16438: :func:`record` how often every MLP neuron is active in texts of
several languages, :func:`identify` the neurons whose activity is confined to few of them, and ask
:func:`null` how confined chance would make them. Scripts, registers or domains do as well. Then
switch them off and measure :func:`perplexity` in every language, let the model :func:`generate`
answers, or :func:`steer` it to another language.
"""

import lazy_loader

# What there is stands in __init__.pyi, and is loaded when it is first asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
