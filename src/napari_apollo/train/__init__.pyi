from .config import TrainConfig as TrainConfig
from .folder import RunStatus as RunStatus
from .operation import train as train
from .run import Run as Run
from .run import start_run as start_run
from .tableconfig import TableTrainConfig as TableTrainConfig
