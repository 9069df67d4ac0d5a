from .cells import CellStore as CellStore
from .cells import CropConfig as CropConfig
from .cells import SegmentConfig as SegmentConfig
from .cells import crop as crop
from .cells import segment as segment
from .interpret import InterpretConfig as InterpretConfig
from .interpret import interpret as interpret
from .measure import MeasureConfig as MeasureConfig
from .measure import measure as measure
from .model import Apollo as Apollo
from .panels import Panel as Panel
from .predict import EvaluateConfig as EvaluateConfig
from .predict import PredictConfig as PredictConfig
from .predict import evaluate as evaluate
from .predict import predict as predict
from .study import Study as Study
from .train import TableTrainConfig as TableTrainConfig
from .train import TrainConfig as TrainConfig
from .train import train as train

__version__: str
