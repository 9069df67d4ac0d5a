from .chain import demo as demo
from .config import DemoConfig as DemoConfig
from .results import DemoResults as DemoResults
from .results import SampleResults as SampleResults
