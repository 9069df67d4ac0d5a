from .config import SegmentConfig as SegmentConfig
from .engines import NucleusEngine as NucleusEngine
from .engines import engine_names as engine_names
from .engines import get_engine as get_engine
from .expand import expand_nuclei as expand_nuclei
from .image import segment_image as segment_image
from .operation import segment as segment
